package health

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// straight dials addresses, and counts.
type straight struct{ dials atomic.Int32 }

func (s *straight) DialStream(ctx context.Context, to framework.Addr) (net.Conn, error) {
	s.dials.Add(1)
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to.String())
}

func (s *straight) DialPacket(context.Context, framework.Addr) (framework.PacketConn, error) {
	return nil, framework.ErrUnsupported
}

func spec(url string) Spec { return Spec{URL: url, Timeout: 10 * time.Second} }

func TestRequestIsAHeadThatFollowsNothing(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer s.Close()
	m := Member{Node: new(Node), Via: &straight{}}

	d, err := New(nil).Test(t.Context(), m, spec(s.URL+"/a?b=c"))

	if err != nil || d < time.Millisecond || d%time.Millisecond != 0 {
		t.Errorf("got %v, %v, want whole milliseconds", d, err)
	}
	r := <-got
	if r.Method != "HEAD" || r.URL.String() != "/a?b=c" || r.UserAgent() != "Go-http-client/1.1" || r.Proto != "HTTP/1.1" || "http://"+r.Host != s.URL || r.Close {
		t.Errorf("got %s %s %s, host %s, agent %q, close %v", r.Method, r.URL, r.Proto, r.Host, r.UserAgent(), r.Close)
	}
	if len(got) > 0 || !m.Node.Alive() || m.Node.Tests()[0].Delay != d {
		t.Errorf("%d more requests; recorded %v", len(got), m.Node.Tests())
	}
}

func TestUnifiedDelayIsOfASecondRequest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		close    bool
		requests int32
		least    time.Duration
	}{"kept alive": {false, 2, 0}, "closed by the server": {true, 1, 150 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if requests.Add(1) == 1 {
					<-time.After(150 * time.Millisecond) // the first answer is slow
				}
				if c.close {
					w.Header().Set("Connection", "close")
				}
				w.WriteHeader(http.StatusNoContent)
			}))
			defer s.Close()
			via := &straight{}
			tester := New(nil)
			tester.SetUnified(true)

			d, err := tester.Test(t.Context(), Member{Node: new(Node), Via: via}, spec(s.URL))

			if err != nil || requests.Load() != c.requests || via.dials.Load() != 1 {
				t.Errorf("%v; %d requests over %d connections", err, requests.Load(), via.dials.Load())
			}
			if d < c.least || c.least == 0 && d >= 150*time.Millisecond {
				t.Errorf("got %v", d)
			}
		})
	}
}

func TestStatusDecidesForTheURLOnly(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	m := Member{Node: new(Node), Via: &straight{}}
	want := spec(s.URL)
	want.Expected = Statuses{{204, 204}}

	d, err := New(nil).Test(t.Context(), m, want)

	if err != nil || d == 0 || !m.Node.Alive() || m.Node.Health(s.URL).Alive {
		t.Errorf("got %v, %v; alive %v, for the URL %v", d, err, m.Node.Alive(), m.Node.Health(s.URL).Alive)
	}
}

func TestTargetMayBeHTTPS(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())

	_, good := New(roots).Test(t.Context(), Member{Node: new(Node), Via: &straight{}}, spec(s.URL))
	_, bad := New(x509.NewCertPool()).Test(t.Context(), Member{Node: new(Node), Via: &straight{}}, spec(s.URL))

	var unknown x509.UnknownAuthorityError
	if good != nil || !errors.As(bad, &unknown) {
		t.Errorf("known authority: %v; unknown: %v", good, bad)
	}
}

// serveRaw answers each connection with text and leaves it open.
func serveRaw(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when l is closed
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(10 * time.Second))
			bufio.NewReader(c).ReadString('\n')
			io.WriteString(c, text)
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return "http://" + l.Addr().String()
}

func TestAnswersAndFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		good bool
	}{
		"interim answers first":  {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", true},
		"a length without body":  {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true},
		"an old protocol":        {"HTTP/1.0 200 OK\r\n\r\n", true},
		"interim answers only":   {strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20), false},
		"no HTTP":                {"SSH-2.0-x\r\n", false},
		"a header without end":   {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 20000), false},
		"nothing before the end": {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := Member{Node: new(Node), Via: &straight{}}
			s := Spec{URL: serveRaw(t, c.text), Timeout: 5 * time.Second}
			if c.text == "" {
				s.Timeout = 50 * time.Millisecond
			}

			d, err := New(nil).Test(t.Context(), m, s)

			if (err == nil) != c.good || m.Node.Alive() != c.good || (d > 0) != c.good {
				t.Errorf("got %v, %v, alive %v", d, err, m.Node.Alive())
			}
			if c.text == "" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want a deadline", err)
			}
		})
	}
}

func TestBadURLIsAFailedTest(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "ftp://a.test/", "a.test", "http://", "http://a.test:99999/", "http://\x00/"} {
		m := Member{Node: new(Node), Via: &straight{}}
		if _, err := New(nil).Test(t.Context(), m, spec(url)); !errors.Is(err, errURL) {
			t.Errorf("%q: got %v", url, err)
		}
		if h := m.Node.Health(url); len(h.Tests) != 1 || h.Alive {
			t.Errorf("%q: recorded %+v", url, h)
		}
	}
}

func TestCancelledTestLeavesNoResult(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := Member{Node: new(Node), Via: &straight{}}
	if _, err := New(nil).Test(ctx, m, spec(serveRaw(t, ""))); err == nil || len(m.Node.Tests()) > 0 {
		t.Errorf("got %v, recorded %v", err, m.Node.Tests())
	}
}

// broken is an outbound with a mistake.
type broken struct{ straight }

func (*broken) DialStream(context.Context, framework.Addr) (net.Conn, error) { panic("broken") }

func TestPanicOfAnOutboundIsAFailedTest(t *testing.T) {
	t.Parallel()
	m := Member{Node: new(Node), Via: &broken{}}
	if _, err := New(nil).Test(t.Context(), m, spec("http://a.test/")); err == nil || m.Node.Alive() {
		t.Errorf("got %v, alive %v", err, m.Node.Alive())
	}
}
