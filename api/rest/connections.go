package rest

import (
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-proxy/culvert/framework/stats"
)

// The bounds of the interval of /connections. The lower one is from the API's
// description; the upper one is chosen: a message an hour.
const (
	minInterval = 100 * time.Millisecond
	maxInterval = time.Hour
)

// connections answers with one snapshot, or with one per interval.
func (a *API) connections(c echo.Context) error {
	if !isUpgrade(c.Request()) {
		fr := newFrame(a.appendFlows)
		defer fr.release()
		return respondRaw(c, http.StatusOK, fr.data)
	}
	every := time.Second
	if text := c.QueryParam("interval"); text != "" {
		ms, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return badBody(c)
		}
		every = min(max(time.Duration(ms)*time.Millisecond, minInterval), maxInterval)
	}
	s, err := a.openStream(c)
	if s == nil {
		return err
	}
	defer s.close()
	f, giveBack := a.flowLists.take(every)
	defer giveBack()
	frames, leave := f.subscribe()
	defer leave()
	first := newFrame(a.appendFlows)
	err = s.send(first.data)
	first.release()
	if err == nil {
		a.pump(s, frames, nil)
	}
	return nil
}

// closeConnections ends all flows.
func (a *API) closeConnections(c echo.Context) error {
	for _, f := range a.Stats.Flows(nil) {
		f.Kill()
	}
	return c.NoContent(http.StatusNoContent)
}

// closeConnection ends one flow; an unknown id is no error.
func (a *API) closeConnection(c echo.Context) error {
	id := param(c, "id")
	for _, f := range a.Stats.Flows(nil) {
		if f.IDText() == id {
			f.Kill()
			break
		}
	}
	return c.NoContent(http.StatusNoContent)
}

// flowsPool holds the lists that snapshots are made from.
var flowsPool = sync.Pool{New: func() any { return new([]*stats.Flow) }}

// appendFlows appends a snapshot of the open flows. The fixed part of each flow
// is encoded when it is first asked for and kept with the flow.
func (a *API) appendFlows(b []byte) []byte {
	list := flowsPool.Get().(*[]*stats.Flow)
	flows := a.Stats.Flows((*list)[:0])
	up, down := a.Stats.Bytes()
	b = append(b, `{"downloadTotal":`...)
	b = strconv.AppendUint(b, down, 10)
	b = append(b, `,"uploadTotal":`...)
	b = strconv.AppendUint(b, up, 10)
	b = append(b, `,"connections":[`...)
	for i, f := range flows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, fixedPart(f)...)
		b = strconv.AppendUint(b, f.Up.Load(), 10)
		b = append(b, `,"download":`...)
		b = strconv.AppendUint(b, f.Down.Load(), 10)
		b = append(b, '}')
	}
	b = append(b, `],"memory":`...)
	b = strconv.AppendUint(b, residentBytes(), 10)
	clear(flows) // ended flows are not kept alive by the pool
	*list = flows
	flowsPool.Put(list)
	return append(b, "}\n"...)
}

// fixedPart is a flow's encoding up to the number of its uploaded bytes.
func fixedPart(f *stats.Flow) []byte {
	if p := f.Static.Load(); p != nil {
		return *p
	}
	b := appendFixed(make([]byte, 0, 1024), f)
	b = append(make([]byte, 0, len(b)), b...) // kept as long as the flow: no spare room
	f.Static.Store(&b)
	return b
}

func appendFixed(b []byte, f *stats.Flow) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, f.IDText())
	b = append(b, `,"metadata":{"network":`...)
	b = appendString(b, f.Network.String())
	b = fieldString(b, "type", f.Inbound.Type)
	b = fieldAddr(b, "sourceIP", f.Source.Addr())
	b = fieldAddr(b, "destinationIP", destinationIP(f))
	b = append(b, `,"sourceGeoIP":null,"destinationGeoIP":null,"sourceIPASN":"","destinationIPASN":""`...)
	b = fieldPort(b, "sourcePort", f.Source.Port())
	b = fieldPort(b, "destinationPort", f.Destination.Port)
	b = fieldAddr(b, "inboundIP", f.Inbound.Local.Addr())
	b = fieldPort(b, "inboundPort", f.Inbound.Local.Port())
	b = fieldString(b, "inboundName", f.Inbound.Name)
	b = fieldString(b, "inboundUser", f.Inbound.User)
	b = append(b, `,"rematchName":""`...)
	b = fieldString(b, "host", f.Destination.Host)
	b = fieldString(b, "dnsMode", orNormal(f.DNSMode))
	b = fieldInt(b, "uid", int64(f.UID))
	b = fieldString(b, "process", f.Process)
	b = fieldString(b, "processPath", f.ProcessPath)
	b = fieldString(b, "specialProxy", f.SpecialProxy)
	b = fieldString(b, "specialRules", f.SpecialRules)
	b = fieldAddr(b, "remoteDestination", f.RemoteIP)
	b = fieldInt(b, "dscp", int64(f.DSCP))
	b = fieldString(b, "sniffHost", f.SniffHost)
	b = append(b, '}')
	b = fieldTime(b, "start", f.Start)
	b = appendStrings(fieldKey(b, "chains"), f.Chain)
	b = appendStrings(fieldKey(b, "providerChains"), providerChain(f))
	b = fieldString(b, "rule", f.Rule)
	b = fieldString(b, "rulePayload", f.Payload)
	return fieldKey(b, "upload")
}

// destinationIP is the address that was resolved, else the one that was given.
func destinationIP(f *stats.Flow) netip.Addr {
	if f.DestinationIP.IsValid() {
		return f.DestinationIP
	}
	return f.Destination.IP
}

// providerChain is as long as the chain.
func providerChain(f *stats.Flow) []string {
	if len(f.Providers) == len(f.Chain) {
		return f.Providers
	}
	return make([]string, len(f.Chain))
}

func orNormal(mode string) string {
	if mode == "" {
		return "normal"
	}
	return mode
}

// fieldAddr appends an address as text, "" for none.
func fieldAddr(b []byte, key string, a netip.Addr) []byte {
	b = append(fieldKey(b, key), '"')
	if a.IsValid() {
		b = a.AppendTo(b)
	}
	return append(b, '"')
}

// fieldPort appends a port as text: the API has ports as strings.
func fieldPort(b []byte, key string, port uint16) []byte {
	b = append(fieldKey(b, key), '"')
	b = strconv.AppendUint(b, uint64(port), 10)
	return append(b, '"')
}
