package rest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
)

func TestConnectionsAreEncodedAsRecorded(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	f := openFlow(s.fake.stats, "a.test", 10, 20)

	got := s.do("GET", "/connections", "")

	memory := got.body[strings.Index(got.body, `"memory":`):]
	want := `{"downloadTotal":20,"uploadTotal":10,"connections":[{"id":"` + f.IDText() + `","metadata":{"network":"tcp","type":"HTTPS",` +
		`"sourceIP":"127.0.0.1","destinationIP":"","sourceGeoIP":null,"destinationGeoIP":null,"sourceIPASN":"","destinationIPASN":"",` +
		`"sourcePort":"50000","destinationPort":"443","inboundIP":"127.0.0.1","inboundPort":"7890","inboundName":"DEFAULT-MIXED","inboundUser":"","rematchName":"",` +
		`"host":"a.test","dnsMode":"normal","uid":0,"process":"","processPath":"","specialProxy":"","specialRules":"","remoteDestination":"192.0.2.1","dscp":0,"sniffHost":""},` +
		`"start":"2025-01-02T03:04:05.000000006Z","chains":["node","Proxy"],"providerChains":["",""],"rule":"DomainSuffix","rulePayload":"example.test","upload":10,"download":20}],` + memory
	got.want(t, "connections", 200, want)
	if !json.Valid([]byte(got.body)) {
		t.Error("the answer is no JSON")
	}
}

func TestNoConnectionsAreAnEmptyArray(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)

	if got := s.do("GET", "/connections", ""); !strings.HasPrefix(got.body, `{"downloadTotal":0,"uploadTotal":0,"connections":[],"memory":`) {
		t.Errorf("got %q", got.body)
	}
}

func TestFlowWithoutAddressesHasEmptyStrings(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	f := &stats.Flow{Flow: framework.Flow{Network: framework.UDP, Inbound: framework.Origin{Type: "Inner"}}, Info: stats.Info{Chain: []string{"DIRECT"}}}
	s.fake.stats.Open(f, nil)

	got := s.do("GET", "/connections", "")

	for _, want := range []string{`"sourceIP":""`, `"sourcePort":"0"`, `"network":"udp"`, `"remoteDestination":""`, `"rule":""`, `"chains":["DIRECT"]`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("%s is not in %s", want, got.body)
		}
	}
}

func TestDestinationAddressIsShown(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	f := &stats.Flow{
		Flow: framework.Flow{Network: framework.TCP, Destination: framework.Addr{IP: netip.MustParseAddr("2001:db8::1"), Port: 80}},
		Info: stats.Info{Chain: []string{"DIRECT"}, Providers: []string{"p"}},
	}
	s.fake.stats.Open(f, nil)

	got := s.do("GET", "/connections", "")

	for _, want := range []string{`"destinationIP":"2001:db8::1"`, `"host":""`, `"providerChains":["p"]`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("%s is not in %s", want, got.body)
		}
	}
}

type killer struct {
	mu     sync.Mutex // guards killed
	killed int
}

func (k *killer) Kill() { k.mu.Lock(); defer k.mu.Unlock(); k.killed++ }

func TestDeleteEndsOneOrAllFlows(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	var ks [3]killer
	var fs [3]*stats.Flow
	for i := range fs {
		fs[i] = &stats.Flow{Info: stats.Info{Chain: []string{"DIRECT"}}}
		s.fake.stats.Open(fs[i], &ks[i])
	}

	s.do("DELETE", "/connections/"+fs[1].IDText(), "").want(t, "one", 204, "")
	if ks[0].killed+ks[2].killed != 0 || ks[1].killed != 1 {
		t.Errorf("got kills %d %d %d, want the second only", ks[0].killed, ks[1].killed, ks[2].killed)
	}
	s.do("DELETE", "/connections", "").want(t, "all", 204, "")
	if ks[0].killed*ks[1].killed*ks[2].killed != 1 {
		t.Errorf("got kills %d %d %d, want one each", ks[0].killed, ks[1].killed, ks[2].killed)
	}
}

// benchAPI is an API with n open flows.
func benchAPI(tb testing.TB, n int) (http.Handler, *stats.Stats) {
	f := newFake()
	for i := range n {
		openFlow(f.stats, fmt.Sprintf("host-%d.example.test", i), 1234567, 7654321)
	}
	a, err := rest.New(rest.Config{Secret: secret}, rest.Kernel{Stats: f.stats, Logs: f.logs, Configs: f, Applier: f, Proxies: f, Selector: f, Rules: f}, f.logger)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { a.Close() })
	return a.Handler(), f.stats
}

// discard is a ResponseWriter that counts.
type discard struct {
	h http.Header
	n int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(b []byte) (int, error) { d.n += len(b); return len(b), nil }

func BenchmarkConnections3000(b *testing.B) {
	h, _ := benchAPI(b, 3000)
	req := httptest.NewRequest("GET", "/connections", nil)
	req.Header.Set("Authorization", "Bearer "+secret)
	b.ReportAllocs()
	for b.Loop() {
		d := &discard{h: http.Header{}}
		h.ServeHTTP(d, req)
		b.SetBytes(int64(d.n))
	}
}

// BenchmarkConnections3000OverTCP is the same with a client on loopback, whose
// cost is in the figure.
func BenchmarkConnections3000OverTCP(b *testing.B) {
	h, _ := benchAPI(b, 3000)
	s := httptest.NewServer(h)
	defer s.Close()
	req, _ := http.NewRequest("GET", s.URL+"/connections", nil)
	req.Header.Set("Authorization", "Bearer "+secret)
	b.ReportAllocs()
	for b.Loop() {
		resp, err := s.Client().Do(req)
		if err != nil {
			b.Fatal(err)
		}
		n, _ := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		b.SetBytes(n)
	}
}

func TestSnapshotAllocatesAFewTimesWhateverTheNumberOfFlows(t *testing.T) {
	h, _ := benchAPI(t, 3000)
	req := httptest.NewRequest("GET", "/connections", nil)
	req.Header.Set("Authorization", "Bearer "+secret)
	h.ServeHTTP(&discard{h: http.Header{}}, req) // encodes the fixed parts

	n := testing.AllocsPerRun(10, func() { h.ServeHTTP(&discard{h: http.Header{}}, req) })

	if n > 60 {
		t.Errorf("got %v allocations for 3,000 flows, want a few", n)
	}
}
