package kernel

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"strings"
	"sync/atomic"
)

// admission answers for the top-level ports and for listeners that have no
// users of their own. Its answers follow the settings in force.
type admission struct {
	rules atomic.Pointer[admissionRules]
}

type admissionRules struct {
	users                  map[string][32]byte // sha256 of the password: compared in constant time, whatever its length
	skip, allowed, refused []netip.Prefix
}

// newAdmissionRules reads users as "name:password". An entry without a colon
// is nobody; the last of two passwords for one name counts.
func newAdmissionRules(users []string, skip, allowed, refused []netip.Prefix) *admissionRules {
	r := &admissionRules{users: map[string][32]byte{}, skip: skip, allowed: allowed, refused: refused}
	for _, u := range users {
		if name, password, ok := strings.Cut(u, ":"); ok {
			r.users[name] = sha256.Sum256([]byte(password))
		}
	}
	return r
}

func (a *admission) Allowed(source netip.Addr) bool {
	r, source := a.rules.Load(), source.Unmap().WithZone("")
	return contains(r.allowed, source) && !contains(r.refused, source)
}

func (a *admission) Required(source netip.Addr) bool {
	r := a.rules.Load()
	return len(r.users) > 0 && !contains(r.skip, source.Unmap().WithZone(""))
}

func (a *admission) Check(user, password string) bool {
	want, known := a.rules.Load().users[user]
	got := sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && known
}

func contains(ps []netip.Prefix, ip netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
