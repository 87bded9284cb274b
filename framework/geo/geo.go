// Package geo has the data on countries, networks and sites: one copy, found
// in the home directory, opened when somebody first asks for it, and exchanged
// in place when the files change. Rules reach it through Facts and Geo of the
// contract. It fetches nothing: what updates the files calls Reload.
//
// Specification: the facts in config-rules.md §8. MaxMind DB files are read by
// their library; .dat files, which are protocol buffers of a fixed and small
// schema, by hand, so that of a hundred lists only the wanted one is decoded.
package geo

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/culvert-proxy/culvert/framework"
)

// The names that a file may have, in any letter case. The first in the order
// of the directory counts.
var (
	countryNames = []string{"country.mmdb", "geoip.db", "geoip.metadb"}
	geoIPNames   = []string{"geoip.dat"}
	siteNames    = []string{"geosite.dat"}
	asnNames     = []string{"asn.mmdb"}
)

// ErrMissing says that a file is not in the home directory.
var ErrMissing = errors.New("not in the home directory")

var errNot = errors.New("a country with ! needs geodata-mode: true and GeoIP.dat")

// Data is the data. It is safe for concurrent use. It holds no descriptor and
// no goroutine, and needs no Close.
type Data struct {
	dir     string
	country atomic.Pointer[countryDB]
	asn     atomic.Pointer[asnDB]
	ranges  sync.Map // of geoip.dat: code to *atomic.Pointer[ruleset.Prefixes]

	mu    sync.Mutex                     // guards sites, and opening of all above
	sites map[string]weak.Pointer[sites] // what somebody holds
}

// New makes the data of a home directory; nothing is opened yet.
func New(dir string) *Data {
	return &Data{dir: dir, sites: map[string]weak.Pointer[sites]{}}
}

// View is the data as one configuration sees it: framework.Geo for its rules
// and framework.GeoFacts for its flows.
type View struct {
	*Data
	byCode bool
}

// View is the data in one mode. byCode is geodata-mode: countries come from
// geoip.dat.
func (d *Data) View(byCode bool) View { return View{d, byCode} }

// NeedCountry implements framework.Geo.
func (v View) NeedCountry(code string) (size int, err error) {
	code, not := strings.CutPrefix(code, "!")
	if v.byCode {
		set, err := v.IPSet(code)
		return set.Len(), err
	}
	if not {
		return 0, framework.Classed(framework.ErrUnsupported, errNot)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.country.Load() != nil {
		return 0, nil
	}
	db, err := openCountry(v.dir)
	if err == nil {
		v.country.Store(db)
	}
	return 0, err
}

// InCountry says whether ip belongs to code, in lower case, or not to it for
// "!code". It is false for data that nobody needed.
func (v View) InCountry(ip netip.Addr, code string) bool {
	if v.byCode {
		code, not := strings.CutPrefix(code, "!")
		p, ok := v.ranges.Load(code)
		return ok && p.(*prefixes).Load().Has(ip) != not
	}
	return slices.Contains(v.Country(ip), code)
}

// NeedASN implements framework.Geo.
func (d *Data) NeedASN() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asn.Load() != nil {
		return nil
	}
	db, err := openASN(d.dir)
	if err == nil {
		d.asn.Store(db)
	}
	return err
}

// Country is the codes that the database has for ip, in lower case; nil for
// none. The slice is not to be changed.
func (d *Data) Country(ip netip.Addr) []string {
	db := d.country.Load()
	if db == nil || !ip.IsValid() {
		return nil
	}
	return db.lookup(ip)
}

// ASN is the autonomous system that announces ip.
func (d *Data) ASN(ip netip.Addr) (framework.ASN, bool) {
	db := d.asn.Load()
	if db == nil || !ip.IsValid() {
		return framework.ASN{}, false
	}
	return db.lookup(ip)
}

// Reload opens again what is open and puts it in place of the old. Where a file
// is absent or broken the old data stays, and the error says so.
func (d *Data) Reload() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	if d.country.Load() != nil {
		db, err := openCountry(d.dir)
		if err == nil {
			d.country.Store(db)
		}
		errs = append(errs, err)
	}
	if d.asn.Load() != nil {
		db, err := openASN(d.dir)
		if err == nil {
			d.asn.Store(db)
		}
		errs = append(errs, err)
	}
	d.ranges.Range(func(code, p any) bool {
		set, err := readIPSet(d.dir, code.(string))
		if err == nil {
			p.(*prefixes).Store(set)
		}
		errs = append(errs, err)
		return true
	})
	for list, w := range d.sites {
		s := w.Value()
		if s == nil {
			delete(d.sites, list)
			continue
		}
		m, err := readSites(d.dir, list)
		if err == nil {
			s.matcher.Store(m)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// find is the path of the file that has one of the names.
func find(dir string, names []string) (string, error) {
	entries, err := os.ReadDir(dir) // in order
	if err != nil {
		return "", fmt.Errorf("look for %s: %w", names[len(names)-1], err)
	}
	for _, e := range entries {
		if slices.Contains(names, strings.ToLower(e.Name())) && !e.IsDir() {
			return filepath.Join(dir, e.Name()), nil
		}
	}
	return "", fmt.Errorf("%s: %w", strings.Join(names, " or "), ErrMissing)
}
