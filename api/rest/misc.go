package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

func (a *API) hello(c echo.Context) error {
	return respond(c, http.StatusOK, map[string]string{"hello": a.cfg.Name})
}

// version answers what dashboards probe; meta says that this kernel has the
// API's extensions.
func (a *API) version(c echo.Context) error {
	return respond(c, http.StatusOK, struct {
		Meta    bool   `json:"meta"`
		Version string `json:"version"`
	}{true, a.cfg.Version})
}

func (a *API) flushFakeIP(c echo.Context) error {
	if a.Caches == nil {
		return c.NoContent(http.StatusNoContent)
	}
	return done(c, a.Caches.FlushFakeIP(), http.StatusBadRequest)
}

func (a *API) flushDNS(c echo.Context) error {
	if a.Caches == nil {
		return c.NoContent(http.StatusNoContent)
	}
	return done(c, a.Caches.FlushDNS(), http.StatusBadRequest)
}

// maxValue is how long a stored value may be, in bytes, as in mihomo.
const maxValue = 1 << 20

func (a *API) noStorage(c echo.Context) error {
	return fail(c, http.StatusNotImplemented, "this kernel keeps no storage")
}

// getStorage answers with the stored bytes as they were sent.
func (a *API) getStorage(c echo.Context) error {
	if a.Storage == nil {
		return a.noStorage(c)
	}
	v, err := a.Storage.Get(param(c, "key"))
	if err != nil {
		return fail(c, http.StatusInternalServerError, err.Error())
	}
	if v == nil {
		v = []byte("null")
	}
	return respondRaw(c, http.StatusOK, v)
}

func (a *API) putStorage(c echo.Context) error {
	if a.Storage == nil {
		return a.noStorage(c)
	}
	const tooLarge = "payload exceeds 1MB limit"
	// Validity is checked before size, so somewhat more than the limit is read.
	b, err := a.readBody(c, 2*maxValue)
	switch {
	case err == errTooLarge:
		return fail(c, http.StatusRequestEntityTooLarge, tooLarge)
	case err != nil || !json.Valid(b):
		return badBody(c)
	case len(b) > maxValue:
		return fail(c, http.StatusRequestEntityTooLarge, tooLarge)
	}
	return done(c, a.Storage.Put(param(c, "key"), b), http.StatusInternalServerError)
}

func (a *API) deleteStorage(c echo.Context) error {
	if a.Storage == nil {
		return a.noStorage(c)
	}
	return done(c, a.Storage.Delete(param(c, "key")), http.StatusInternalServerError)
}

// restart answers first and restarts afterwards.
func (a *API) restart(c echo.Context) error {
	if a.Process == nil {
		return fail(c, http.StatusNotImplemented, "this kernel cannot restart itself: restart it from outside")
	}
	if err := respond(c, http.StatusOK, map[string]string{"status": "ok"}); err != nil {
		return err
	}
	c.Response().Flush()
	if err := a.Process.Restart(); err != nil {
		a.log.Error("restart", "err", err)
	}
	return nil
}

func (a *API) upgrade(c echo.Context) error {
	return fail(c, http.StatusInternalServerError, "this kernel does not upgrade itself: install the new version as you installed this one")
}

func (a *API) upgradeUI(c echo.Context) error {
	return fail(c, http.StatusInternalServerError, "this kernel does not download a user interface: unpack it into external-ui")
}

// queryTimeout is the time for one query, as in mihomo.
const queryTimeout = 5 * time.Second

// recordTypes are the record types that /dns/query knows, by mnemonic
// (IANA, DNS parameters).
var recordTypes = map[string]uint16{
	"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "HINFO": 13, "MX": 15, "TXT": 16, "RP": 17, "AFSDB": 18,
	"AAAA": 28, "LOC": 29, "SRV": 33, "NAPTR": 35, "KX": 36, "CERT": 37, "DNAME": 39, "APL": 42, "DS": 43,
	"SSHFP": 44, "RRSIG": 46, "NSEC": 47, "DNSKEY": 48, "NSEC3": 50, "NSEC3PARAM": 51, "TLSA": 52, "SMIMEA": 53,
	"HIP": 55, "CDS": 59, "CDNSKEY": 60, "OPENPGPKEY": 61, "CSYNC": 62, "ZONEMD": 63, "SVCB": 64, "HTTPS": 65,
	"SPF": 99, "EUI48": 108, "EUI64": 109, "ANY": 255, "URI": 256, "CAA": 257,
}

// dnsJSON is the answer to a query; the spelling of its keys is the API's.
type dnsJSON struct {
	AD         bool          `json:"AD"`
	Additional []recordJSON  `json:"Additional,omitempty"`
	Answer     []recordJSON  `json:"Answer,omitempty"`
	Authority  []recordJSON  `json:"Authority,omitempty"`
	CD         bool          `json:"CD"`
	Question   []questionDNS `json:"Question"`
	RA         bool          `json:"RA"`
	RD         bool          `json:"RD"`
	Status     int           `json:"Status"`
	TC         bool          `json:"TC"`
}

type questionDNS struct {
	Name   string
	Qtype  uint16
	Qclass uint16
}

type recordJSON struct {
	TTL  uint32 `json:"TTL"`
	Data string `json:"data"`
	Name string `json:"name"`
	Type uint16 `json:"type"`
}

// queryDNS asks the kernel's resolver.
func (a *API) queryDNS(c echo.Context) error {
	if a.DNS == nil {
		return fail(c, http.StatusInternalServerError, "DNS section is disabled")
	}
	qtype, ok := recordTypes[orElse(c.QueryParam("type"), "A")]
	if !ok {
		return fail(c, http.StatusBadRequest, "invalid query type")
	}
	name := c.QueryParam("name")
	if !strings.HasSuffix(name, ".") {
		name += "."
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), queryTimeout)
	defer cancel()
	ans, err := a.DNS.Query(ctx, name, qtype)
	if err != nil {
		return fail(c, http.StatusInternalServerError, err.Error())
	}
	return respond(c, http.StatusOK, dnsJSON{
		Status: ans.Status, TC: ans.TC, RD: ans.RD, RA: ans.RA, AD: ans.AD, CD: ans.CD,
		Question: []questionDNS{{name, qtype, 1}},
		Answer:   records(ans.Answer), Authority: records(ans.Authority), Additional: records(ans.Additional),
	})
}

func records(rs []DNSRecord) []recordJSON {
	list := make([]recordJSON, 0, len(rs))
	for _, r := range rs {
		list = append(list, recordJSON{r.TTL, r.Data, r.Name, r.Type})
	}
	return list
}
