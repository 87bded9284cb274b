package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/tests/harness"
)

func TestManyRequestsAtOnceGetTheirOwnAnswers(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	const requests = 300
	for _, x := range [][]string{{"-x", at("http", k.mixed)}, {"-p", "-x", at("http", k.http)}, {"-x", at("socks5h", k.socks)}} {
		o := newOrigin(t, "127.0.0.1")
		urls := o.url("origin.test", fmt.Sprintf("/echo?[1-%d]", requests))

		r := curl(t, append(x, "-Z", "--parallel-max", "50", urls)...)

		if r.code != 0 {
			t.Fatalf("%q: curl ended with %d: %s", x, r.code, r.err)
		}
		for i := 1; i <= requests; i++ {
			if n := strings.Count(r.out, fmt.Sprintf(`"Target":"/echo?%d"`, i)); n != 1 {
				t.Errorf("%q: got %d answers to request %d", x, n, i)
			}
		}
		noFlow(t, k.Culvert, o.port)
	}
}

func TestFlowsOutliveTheMoveOfTheirPort(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	echo := listenTCP(t, func(c *net.TCPConn) { io.Copy(c, c) })
	c, moved := tunnel(t, "socks5", k.mixed, "origin.test", echo.Port), harness.Port(t)

	if status, body := k.Call(t, http.MethodPatch, "/configs", map[string]int{"mixed-port": moved}); status != http.StatusNoContent {
		t.Fatalf("got %d %s", status, body)
	}

	got := make([]byte, 5)
	io.WriteString(c, "hello")
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Errorf("the old flow got %q, %v", got, err)
	}
	tunnel(t, "http", moved, "origin.test", echo.Port)
	k.Until("the old port answers", func() error { // who connects while it closes is served
		if r := curl(t, "-x", at("http", k.mixed), "http://origin.test/"); r.code != curlNoConnect {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	var s struct {
		Mixed int `json:"mixed-port"`
	}
	if k.Get(t, "/configs", &s); s.Mixed != moved {
		t.Errorf("settings say %d, want %d", s.Mixed, moved)
	}
}

func TestABusyPortStopsNothing(t *testing.T) {
	t.Parallel()
	first := startOpen(t, "")
	spare := harness.Port(t)
	k := harness.Start(t, fmt.Sprintf("mixed-port: %d\nport: %d\nexternal-controller: %%API%%\n", first.mixed, spare))
	o := newOrigin(t, "127.0.0.1")

	fetch(t, o.url("127.0.0.1", "/echo"), "-x", at("http", spare))

	var s struct {
		Port  int
		Mixed int `json:"mixed-port"`
	}
	if k.Get(t, "/configs", &s); s.Port != spare || s.Mixed != 0 {
		t.Errorf("got ports %+v, want %d and 0", s, spare)
	}
	if !strings.Contains(k.Output(), fmt.Sprint(first.mixed)) {
		t.Errorf("the log does not name port %d", first.mixed)
	}
}

func TestSOCKSCommandsThatAreNotServedAreRefused(t *testing.T) {
	t.Parallel()
	deaf := harness.Port(t)
	k := startOpen(t, fmt.Sprintf("listeners: [{name: deaf, type: socks, listen: 127.0.0.1, port: %d, udp: false}]", deaf))
	const to = "\x00\x01\x7f\x00\x00\x01\x00\x50"

	for _, c := range []struct {
		name, request, answer string
		port                  int
	}{
		{"bind", "\x05\x01\x00\x05\x02" + to, "\x05\x00\x05\x07", k.socks},
		{"unknown command", "\x05\x01\x00\x05\x09" + to, "\x05\x00\x05\x07", k.mixed},
		{"unknown address type", "\x05\x01\x00\x05\x01\x00\x09\x00\x00\x00\x00\x00\x00", "\x05\x00\x05\x08", k.socks},
		{"datagrams where there are none", "\x05\x01\x00\x05\x03" + to, "\x05\x00\x05\x07", deaf},
		{"no method that is known", "\x05\x01\x99", "\x05\xff", k.socks},
		{"socks4 bind", "\x04\x02\x00\x50\x7f\x00\x00\x01\x00", "\x00\x5b", k.socks},
	} {
		answer, lived, err := attack(c.port, strings.NewReader(c.request))

		if err != nil || !strings.HasPrefix(answer, c.answer) || lived > 5*time.Second {
			t.Errorf("%s: got % x, %v after %v, want % x", c.name, answer, err, lived, c.answer)
		}
	}
}

func TestNobodyListeningIsToldToEachClient(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	nobody := fmt.Sprintf("http://127.0.0.1:%d/", harness.Port(t))

	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-x", at("socks5", k.socks)}, curlProxy, "(5)"}, // connection refused: RFC 1928 §6
		{[]string{"-x", at("socks4", k.socks)}, curlProxy, "(91)"},
		{[]string{"-p", "-x", at("http", k.http)}, curlReceive, "502"},
		{[]string{"-f", "-x", at("http", k.http)}, 22, "502"},
	} {
		if r := curl(t, append(c.args, "-o", os.DevNull, nobody)...); r.code != c.code || !strings.Contains(r.err, c.says) {
			t.Errorf("%q: got %+v, want exit %d and %s", c.args, r, c.code, c.says)
		}
	}
}
