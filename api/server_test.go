package api_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/api"
	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/framework/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nothing is a kernel without proxies and rules.
type nothing struct{}

func (nothing) Settings() rest.Settings                          { return rest.Settings{} }
func (nothing) Patch(context.Context, rest.Patch) error          { return nil }
func (nothing) Reload(context.Context, rest.ReloadRequest) error { return nil }
func (nothing) Proxies() []rest.Proxy                            { return nil }
func (nothing) Proxy(string) (rest.Proxy, bool)                  { return rest.Proxy{}, false }
func (nothing) Select(context.Context, string, string) error     { return rest.ErrNotFound }
func (nothing) Unfix(string) error                               { return rest.ErrNotFound }
func (nothing) DisableRules(map[int]bool)                        {}
func (nothing) Rules() []rest.Rule {
	return []rest.Rule{{Type: "Match", Target: "DIRECT", Size: -1, Hits: 7}}
}

// start runs a controller and returns its addresses by key.
func start(t *testing.T, cfg api.Config) (map[string]net.Addr, error) {
	t.Helper()
	var k nothing
	logs := stats.NewLogStream(slog.DiscardHandler, new(slog.LevelVar))
	s, err := api.New(cfg, rest.Kernel{Stats: stats.New(), Logs: logs, Configs: k, Applier: k, Proxies: k, Selector: k, Rules: k}, slog.New(logs))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Start(t.Context())
	t.Cleanup(func() {
		for range 2 {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	addrs := map[string]net.Addr{}
	for _, a := range s.Addrs() {
		addrs[a.Key] = a.Addr
	}
	return addrs, err
}

// get sends a GET and returns the answer and its body.
func get(t *testing.T, tr *http.Transport, url, auth string) (*http.Response, string) {
	t.Helper()
	t.Cleanup(tr.CloseIdleConnections)
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", auth)
	resp, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp, string(b)
}

func unixTransport(path string) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
}

func TestAllListenersServe(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	addrs, err := start(t, api.Config{Listen: "127.0.0.1:0", ListenTLS: "127.0.0.1:0", Unix: "run/ctl.sock", Metrics: "127.0.0.1:0", Home: home, Secret: "s", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	plain, secure, sock := new(http.Transport), &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}, filepath.Join(home, "run/ctl.sock")

	for _, c := range []struct {
		name, url, auth string
		tr              *http.Transport
		status          int
	}{
		{"plain", "http://" + addrs[api.KeyController].String() + "/version", "Bearer s", plain, 200},
		{"plain without the secret", "http://" + addrs[api.KeyController].String() + "/version", "", plain, 401},
		{"metrics without the secret", "http://" + addrs[api.KeyController].String() + "/metrics", "", plain, 401},
		{"metrics", "http://" + addrs[api.KeyController].String() + "/metrics", "Bearer s", plain, 200},
		{"TLS", "https://" + addrs[api.KeyTLS].String() + "/version", "Bearer s", secure, 200},
		{"TLS without the secret", "https://" + addrs[api.KeyTLS].String() + "/version", "", secure, 401},
		{"unix asks for no secret", "http://unix/version", "Bearer wrong", unixTransport(sock), 200},
		{"metrics of its own", "http://" + addrs[api.KeyMetrics].String() + "/metrics", "", plain, 200},
		{"nothing else there", "http://" + addrs[api.KeyMetrics].String() + "/version", "Bearer s", plain, 404},
	} {
		resp, body := get(t, c.tr, c.url, c.auth)

		if resp.StatusCode != c.status {
			t.Errorf("%s: got %d %q, want %d", c.name, resp.StatusCode, body, c.status)
		}
		if c.tr == secure && resp.ProtoMajor != 2 {
			t.Errorf("%s: got HTTP/%d, want HTTP/2", c.name, resp.ProtoMajor)
		}
	}
	info, err := os.Stat(sock)
	if err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("got socket %v, %v, want mode 0666", info, err)
	}
}

func TestWebSocketWorksOverTLS(t *testing.T) {
	t.Parallel()
	addrs, err := start(t, api.Config{ListenTLS: "127.0.0.1:0", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}}
	defer tr.CloseIdleConnections()
	c, _, err := websocket.Dial(t.Context(), "wss://"+addrs[api.KeyTLS].String()+"/connections?token=s", &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()

	if _, b, err := c.Read(t.Context()); err != nil || !strings.HasPrefix(string(b), `{"downloadTotal":0`) {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestListenerThatCannotBindLeavesTheOthers(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}

	addrs, err := start(t, api.Config{Listen: busy.Addr().String(), ListenTLS: "127.0.0.1:0", Certificate: "none.pem", PrivateKey: "none.key", Unix: "file", Metrics: "127.0.0.1:0", Home: home})

	var le *api.ListenError
	if !errors.As(err, &le) || le.Key != api.KeyController {
		t.Errorf("got %v, want a ListenError for the controller", err)
	}
	for _, want := range []string{"external-controller: ", "external-controller-tls: tls.certificate: ", "external-controller-unix: ", "is no socket"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if len(addrs) != 1 || addrs[api.KeyMetrics] == nil {
		t.Errorf("got %v, want the metrics listener", addrs)
	}
	if _, err := os.Stat(filepath.Join(home, "file")); err != nil {
		t.Errorf("the file that is no socket is gone: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ctl.sock")
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close()

	if _, err := start(t, api.Config{Unix: path}); err != nil {
		t.Fatal(err)
	}

	if resp, _ := get(t, unixTransport(path), "http://unix/", ""); resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestHeadersAreLimited(t *testing.T) {
	t.Parallel()
	addrs, err := start(t, api.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", addrs[api.KeyController].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() { // ends when the server has closed
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 1<<20))
	}()

	b := make([]byte, 64)
	n, _ := c.Read(b)

	if !strings.HasPrefix(string(b[:n]), "HTTP/1.1 431 ") {
		t.Errorf("got %q, want 431", b[:n])
	}
}

func TestCloseDoesNotWaitForStreams(t *testing.T) {
	t.Parallel()
	var k nothing
	logs := stats.NewLogStream(slog.DiscardHandler, new(slog.LevelVar))
	s, err := api.New(api.Config{Listen: "127.0.0.1:0", ShutdownTimeout: time.Minute}, rest.Kernel{Stats: stats.New(), Logs: logs, Configs: k, Applier: k, Proxies: k, Selector: k, Rules: k}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	tr := new(http.Transport)
	defer tr.CloseIdleConnections()
	url := "http://" + s.Addrs()[0].Addr.String()
	resp, err := (&http.Client{Transport: tr}).Get(url + "/logs")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	start := time.Now()

	if err := s.Close(); err != nil {
		t.Error(err)
	}

	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("Close took %v", d)
	}
	if err := s.Start(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Start after Close: got %v, want net.ErrClosed", err)
	}
}
