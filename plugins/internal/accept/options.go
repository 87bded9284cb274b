package accept

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/culvert-proxy/culvert/framework"
)

// User is who may use an inbound.
type User struct {
	Username string           `yaml:"username" doc:"name of the user"`
	Password framework.Secret `yaml:"password" doc:"password of the user, may be empty"`
}

// Options are the keys that all inbounds with a port of their own have.
type Options struct {
	Listen         string           `yaml:"listen" doc:"IP address to listen on"`
	Port           string           `yaml:"port" doc:"port, or ports and ranges such as 8000-8010,9000; 0 is any free port"`
	Users          *[]User          `yaml:"users" doc:"who may come in; without it the users of authentication, with an empty list everybody"`
	Certificate    string           `yaml:"certificate" doc:"TLS certificate: PEM, or a file under the home directory"`
	PrivateKey     framework.Secret `yaml:"private-key" doc:"key of the certificate: PEM, or a file under the home directory"`
	ClientAuthType string           `yaml:"client-auth-type" doc:"what is asked of client certificates" enum:",request,require-any,verify-if-given,require-and-verify"`
	ClientAuthCert string           `yaml:"client-auth-cert" doc:"authority of client certificates: PEM, or a file under the home directory"`
}

// Default is the Options of an empty mapping.
func Default() Options { return Options{Listen: "0.0.0.0"} }

// Validate says what is wrong with o, all of it. It opens no file.
func (o Options) Validate() error {
	var errs []error
	wrong := func(path, msg string) { errs = append(errs, &framework.FieldError{Path: path, Msg: msg}) }
	if _, err := netip.ParseAddr(o.Listen); err != nil {
		wrong("listen", fmt.Sprintf("%q is no IP address", o.Listen))
	}
	if _, err := Ports(o.Port); err != nil {
		wrong("port", err.Error())
	}
	if _, known := clientAuth[o.ClientAuthType]; !known {
		wrong("client-auth-type", fmt.Sprintf("%q is none of request, require-any, verify-if-given, require-and-verify", o.ClientAuthType))
	}
	return errors.Join(errs...)
}

// maxPieces is how many ports and ranges one text may list, as in mihomo's
// common/utils/ranges.go.
const maxPieces = 28

// Ports reads ports and ranges such as "8080", "8000-8010,9000" or "[80/443]",
// in order and without repeats. "", "*" and "0" are {0}: any free port.
func Ports(text string) ([]uint16, error) {
	text = strings.Trim(text, " []")
	if text == "" || text == "*" {
		return []uint16{0}, nil
	}
	pieces := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '/' })
	if len(pieces) == 0 || len(pieces) > maxPieces {
		return nil, fmt.Errorf("%q has %d pieces, not 1 to %d", text, len(pieces), maxPieces)
	}
	var ports []uint16
	var seen [1 << 16]bool
	for _, piece := range pieces {
		low, high, err := portRange(strings.Trim(piece, " []"))
		if err != nil {
			return nil, err
		}
		for p := low; p <= high; p++ {
			if !seen[p] {
				seen[p] = true
				ports = append(ports, uint16(p))
			}
		}
	}
	return ports, nil
}

func portRange(piece string) (low, high uint64, err error) {
	first, last, isRange := strings.Cut(piece, "-")
	if !isRange {
		last = first
	}
	low, err1 := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	high, err2 := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("%q is no port and no range of ports", piece)
	}
	return min(low, high), max(low, high), nil
}

// admission is the Admission of users that an inbound has for itself. Filters
// by source address belong to the kernel's and do not apply.
type admission struct{ hashes [][2 * sha256.Size]byte }

func newAdmission(users []User) framework.Admission {
	a := &admission{}
	for _, u := range users {
		a.hashes = append(a.hashes, hash(u.Username, string(u.Password)))
	}
	return a
}

// hash gives user and password one length, so that comparing tells nothing.
func hash(user, password string) (h [2 * sha256.Size]byte) {
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	copy(h[:], u[:])
	copy(h[sha256.Size:], p[:])
	return h
}

func (a *admission) Allowed(netip.Addr) bool  { return true }
func (a *admission) Required(netip.Addr) bool { return len(a.hashes) > 0 }

func (a *admission) Check(user, password string) bool {
	got, found := hash(user, password), 0
	for i := range a.hashes {
		found |= subtle.ConstantTimeCompare(got[:], a.hashes[i][:])
	}
	return found == 1
}
