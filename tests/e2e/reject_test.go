package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

const rejectRules = `
proxies: [{name: no-entry, type: reject}]
rules:
  - DOMAIN,reject.test,REJECT
  - DOMAIN,no-entry.test,no-entry
  - DOMAIN,drop.test,REJECT-DROP
`

func TestRejectedFlowsEndAtOnce(t *testing.T) {
	t.Parallel()
	k := startOpen(t, rejectRules)
	for _, host := range []string{"reject.test", "no-entry.test"} {
		for _, scheme := range []string{"socks5", "http"} {
			t.Run(scheme+" "+host, func(t *testing.T) {
				t.Parallel()
				begin := time.Now()
				c := tunnel(t, scheme, k.mixed, host, 80) // is told that all is well

				got, err := io.ReadAll(c)

				if len(got) > 0 || err != nil {
					t.Errorf("got %q, %v, want the end", got, err)
				}
				if took := time.Since(begin); took > 5*time.Second {
					t.Errorf("took %v, want at once", took)
				}
			})
		}
		t.Run("forward "+host, func(t *testing.T) {
			t.Parallel()
			r := curl(t, "-x", at("http", k.http), "-o", os.DevNull, "-w", "%{http_code}", "http://"+host+"/")
			if r.code != 0 || r.out != "502" {
				t.Errorf("got %+v, want 502", r)
			}
		})
		t.Run("socks4a "+host, func(t *testing.T) {
			t.Parallel()
			if r := curl(t, "-x", at("socks4a", k.socks), "http://"+host+"/"); r.code != 52 { // empty answer
				t.Errorf("got %+v, want an empty answer", r)
			}
		})
	}
}

func TestDroppedFlowsAreKeptInSilence(t *testing.T) {
	t.Parallel()
	k := startOpen(t, rejectRules)
	for i, scheme := range []string{"socks5", "http"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			port := 8000 + i
			c := tunnel(t, scheme, k.mixed, "drop.test", port)
			io.WriteString(c, "anybody there?")

			if f := flow(t, k.Culvert, port); fmt.Sprint(f.Chains) != "[REJECT-DROP]" || f.Rule != "Domain" || f.RulePayload != "drop.test" {
				t.Errorf("got flow %+v", f)
			}
			isSilent(t, c)
		})
	}
	t.Run("forward", func(t *testing.T) {
		t.Parallel()
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", k.http))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET http://drop.test/ HTTP/1.1\r\nHost: drop.test\r\n\r\n")
		isSilent(t, c)
	})
}

// isSilent checks that nothing comes for a while, not even the end.
func isSilent(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Second))
	if n, err := c.Read(make([]byte, 1)); n > 0 || !isTimeout(err) {
		t.Errorf("got %d bytes and %v, want silence", n, err)
	}
}

func TestRejectedDatagramsAreSwallowed(t *testing.T) {
	t.Parallel()
	k := startOpen(t, rejectRules)
	server := echoUDP(t)
	a := associate(t, k.mixed)

	for _, host := range []string{"reject.test", "no-entry.test", "drop.test"} {
		if err := a.send(host, server.Port, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if from, answer, err := a.receive(200 * time.Millisecond); err == nil {
			t.Errorf("%s: got %q from %s", host, answer, from)
		}
	}
	if _, answer := a.ask(t, "other.test", server.Port, "hello"); answer == "" {
		t.Error("no answer on the way that is not rejected")
	}
	for i, r := range rules(t, k.Culvert) {
		if r.Extra.HitCount != 1 {
			t.Errorf("rule %d matched %d times for one datagram", i, r.Extra.HitCount)
		}
	}
	for _, f := range flows(t, k.Culvert, server.Port) {
		if fmt.Sprint(f.Chains) == "[REJECT-DROP]" {
			t.Errorf("dropped datagrams have an entry: %+v", f)
		}
	}
}
