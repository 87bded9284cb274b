package geo

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/culvert-proxy/culvert/framework"
)

// open reads a database into memory. It is not mapped: a file that somebody
// writes over would end the process.
func open(dir string, names []string) (*maxminddb.Reader, string, error) {
	path, err := find(dir, names)
	if err != nil {
		return nil, "", err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	r, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, "", fmt.Errorf("%s is no MaxMind database: %w", path, err)
	}
	return r, path, nil
}

// records keeps what was decoded, by its place in the file: a database has few
// different records, and a lookup then allocates nothing.
type records[T any] struct {
	reader *maxminddb.Reader
	decode func(maxminddb.Result) (T, error)
	kept   sync.Map // of offset to *T
	n      atomic.Int64
}

// maxRecords bounds what is kept; chosen: more than there are countries, few
// enough to forget about.
const maxRecords = 4096

// lookup is the record of ip; nil when there is none, or it is broken.
func (r *records[T]) lookup(ip netip.Addr) *T {
	found := r.reader.Lookup(ip.Unmap().WithZone(""))
	if !found.Found() {
		return nil
	}
	if v, ok := r.kept.Load(found.Offset()); ok {
		return v.(*T)
	}
	v, err := r.decode(found)
	if err != nil {
		return nil
	}
	if r.n.Load() < maxRecords {
		if _, had := r.kept.LoadOrStore(found.Offset(), &v); !had {
			r.n.Add(1)
		}
	}
	return &v
}

// countryDB maps addresses to codes.
type countryDB struct{ records[[]string] }

func openCountry(dir string) (*countryDB, error) {
	r, _, err := open(dir, countryNames)
	if err != nil {
		return nil, err
	}
	decode := decodeISO
	switch r.Metadata.DatabaseType {
	case "sing-geoip":
		decode = decodeCode
	case "Meta-geoip0":
		decode = decodeCodes
	}
	return &countryDB{records[[]string]{reader: r, decode: decode}}, nil
}

func (db *countryDB) lookup(ip netip.Addr) []string {
	if codes := db.records.lookup(ip); codes != nil {
		return *codes
	}
	return nil
}

// decodeISO reads a record of MaxMind's kind.
func decodeISO(r maxminddb.Result) ([]string, error) {
	var code string
	if err := r.DecodePath(&code, "country", "iso_code"); err != nil || code == "" {
		return nil, err
	}
	return []string{strings.ToLower(code)}, nil
}

// decodeCode reads a record that is one code.
func decodeCode(r maxminddb.Result) ([]string, error) {
	var code string
	err := r.Decode(&code)
	return []string{strings.ToLower(code)}, err
}

// decodeCodes reads a record that is one code or several.
func decodeCodes(r maxminddb.Result) ([]string, error) {
	if codes, err := decodeCode(r); err == nil {
		return codes, nil
	}
	var codes []string
	err := r.Decode(&codes)
	for i, c := range codes {
		codes[i] = strings.ToLower(c)
	}
	return codes, err
}

// asnDB maps addresses to autonomous systems.
type asnDB struct{ records[framework.ASN] }

func openASN(dir string) (*asnDB, error) {
	r, path, err := open(dir, asnNames)
	if err != nil {
		return nil, err
	}
	switch typ := r.Metadata.DatabaseType; typ {
	case "GeoLite2-ASN", "DBIP-ASN-Lite (compat=GeoLite2-ASN)":
		return &asnDB{records[framework.ASN]{reader: r, decode: decodeMaxMindASN}}, nil
	case "ipinfo generic_asn_free.mmdb":
		return &asnDB{records[framework.ASN]{reader: r, decode: decodeIPInfoASN}}, nil
	default:
		return nil, fmt.Errorf("%s is a database of type %q, which has no known ASN records", path, typ)
	}
}

func (db *asnDB) lookup(ip netip.Addr) (framework.ASN, bool) {
	if a := db.records.lookup(ip); a != nil {
		return *a, true
	}
	return framework.ASN{}, false
}

func decodeMaxMindASN(r maxminddb.Result) (framework.ASN, error) {
	var rec struct {
		Number uint32 `maxminddb:"autonomous_system_number"`
		Org    string `maxminddb:"autonomous_system_organization"`
	}
	err := r.Decode(&rec)
	return framework.ASN{Number: rec.Number, Org: rec.Org}, err
}

func decodeIPInfoASN(r maxminddb.Result) (framework.ASN, error) {
	var rec struct {
		ASN  string `maxminddb:"asn"`
		Name string `maxminddb:"name"`
	}
	if err := r.Decode(&rec); err != nil {
		return framework.ASN{}, err
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(rec.ASN, "AS"), 10, 32)
	return framework.ASN{Number: uint32(n), Org: rec.Name}, err
}
