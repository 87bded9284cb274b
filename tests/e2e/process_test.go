package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/tests/harness"
)

// ran is how a command of culvert ended.
type ran struct {
	out, err string
	code     int
}

// culvert runs a command of culvert to its end.
func culvert(t *testing.T, stdin string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
	cmd.Env = harness.Environ()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ran{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func TestSelectionOutlivesKill(t *testing.T) {
	t.Parallel()
	k := startOpen(t, `
proxies: [{name: a, type: reject}, {name: b, type: reject}]
proxy-groups: [{name: G, type: select, proxies: [DIRECT, a, b]}]
`)
	now := func() string {
		var g struct{ Now string }
		k.Get(t, "/proxies/G", &g)
		return g.Now
	}
	if got := now(); got != "DIRECT" {
		t.Fatalf("got %s before, want DIRECT", got)
	}
	for _, choice := range []string{"b", "a"} {
		if status, body := k.Call(t, http.MethodPut, "/proxies/G", map[string]string{"name": choice}); status != http.StatusNoContent {
			t.Fatalf("got %d %s", status, body)
		}

		k.Kill()
		k.Restart(t)

		if got := now(); got != choice {
			t.Errorf("got %s after kill -9, want %s", got, choice)
		}
	}
}

func TestTestModeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, config string
		args         []string
		code         int
		says         []string
	}{
		{"good", "mixed-port: 7890\n", nil, 0, []string{"test is successful"}},
		{"good and strict", "mixed-port: 7890\n", []string{"-strict"}, 0, []string{"test is successful"}},
		{"warning", "mixed-port: 7890\nmixd-port: 1\n", nil, 0, []string{"config.yaml:2", "mixed-port", "test is successful"}},
		{"warning and strict", "mixed-port: 7890\nmixd-port: 1\n", []string{"-strict"}, 1, []string{"config.yaml:2", "test failed"}},
		{"errors", "mode: rul\nrules:\n  - DOMAIN,x,NOWHERE\n  - MATCH,DIRECT\n", nil, 1, []string{"config.yaml:1", "config.yaml:3", "NOWHERE", "test failed"}},
		{"no YAML", "a: [b\n", nil, 1, []string{"config.yaml", "test failed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			file := filepath.Join(home, "config.yaml")
			if err := os.WriteFile(file, []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}

			r := culvert(t, "", append([]string{"-d", home, "-f", file, "-t"}, c.args...)...)

			for _, s := range c.says {
				if !strings.Contains(r.out+r.err, s) {
					t.Errorf("does not say %q: %+v", s, r)
				}
			}
			if r.code != c.code {
				t.Errorf("got exit %d, want %d", r.code, c.code)
			}
		})
	}
	t.Run("standard input", func(t *testing.T) {
		t.Parallel()
		if r := culvert(t, "mode: rul\n", "-d", t.TempDir(), "-f", "-", "-t"); r.code != 1 || !strings.Contains(r.out, "stdin:1") {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("a missing directory", func(t *testing.T) {
		t.Parallel()
		if r := culvert(t, "", "-d", t.TempDir(), "-f", "/no/such/place/config.yaml"); r.code != 1 || r.err == "" {
			t.Errorf("got %+v", r)
		}
	})
}

func TestConfigurationComesFromWhereTheUserSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		start func(cmd *exec.Cmd, config string, port int)
	}{
		{"standard input", func(cmd *exec.Cmd, config string, _ int) {
			cmd.Args, cmd.Stdin = append(cmd.Args, "-f", "-"), strings.NewReader(config)
		}},
		{"base64", func(cmd *exec.Cmd, config string, _ int) {
			cmd.Args = append(cmd.Args, "-config", base64.StdEncoding.EncodeToString([]byte(config)))
		}},
		{"environment", func(cmd *exec.Cmd, config string, port int) {
			cmd.Args, cmd.Stdin = append(cmd.Args, "-f", "-"), strings.NewReader(strings.Replace(config, fmt.Sprint(port), "1", 1))
			cmd.Env = append(cmd.Env, fmt.Sprintf("CULVERT_MIXED_PORT=%d", port), "CULVERT_MODE=direct")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			port, api := harness.Port(t), fmt.Sprintf("127.0.0.1:%d", harness.Port(t))
			config := fmt.Sprintf("mixed-port: %d\nexternal-controller: %s\n", port, api)
			cmd := exec.Command(harness.Binary(t), "-d", t.TempDir())
			cmd.Env = harness.Environ()
			c.start(cmd, config, port)

			p := harness.RunCmd(t, cmd)
			p.WaitListen(api)
			k := &harness.Culvert{Process: p, API: "http://" + api}

			for range 2 { // the second time after a reload
				fetch(t, newOrigin(t, "127.0.0.1").url("127.0.0.1", "/echo"), "-x", at("socks5", port))
				p.Cmd.Process.Signal(syscall.SIGHUP)
				p.Until("no reload", func() error {
					if !strings.Contains(p.Output(), "configuration applied") {
						return errors.New("not yet")
					}
					return nil
				})
			}
			var s struct{ Mode string }
			if k.Get(t, "/configs", &s); (s.Mode == "direct") != (c.name == "environment") {
				t.Errorf("got mode %s", s.Mode)
			}
		})
	}
}

func TestHangupReadsTheFileAgain(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	o, other := newOrigin(t, "127.0.0.1"), harness.Port(t)
	_, before := holding(t, k.Culvert, o, "origin.test", "-x", at("socks5h", k.mixed))
	config := fmt.Sprintf("mixed-port: %d\nport: %d\nexternal-controller: %%API%%\nsecret: %s\nrules: [\"MATCH,REJECT\"]\n", k.mixed, other, token)
	applied := func(text string) {
		t.Helper()
		k.Write(t, text)
		k.Cmd.Process.Signal(syscall.SIGHUP)
	}

	applied("mixed-port: [broken\n")
	k.Until("a broken file is not refused", func() error {
		if !strings.Contains(k.Output(), "configuration refused") {
			return errors.New("not yet")
		}
		return nil
	})
	fetch(t, newOrigin(t, "127.0.0.1").url("127.0.0.1", "/echo"), "-x", at("http", k.http))
	applied(config)
	k.WaitListen(fmt.Sprintf("127.0.0.1:%d", other))

	k.Until("the old secret counts", func() error {
		resp, err := http.Get(k.API + "/version")
		if err != nil {
			return err // a controller whose settings changed listens anew
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
	k.Secret = token
	if now := flow(t, k.Culvert, o.port); now.ID != before.ID {
		t.Errorf("got flow %s, want %s still", now.ID, before.ID)
	}
	k.Until("the old port answers", func() error { // who connects while it closes is served
		if r := curl(t, "-x", at("http", k.http), "http://127.0.0.1:1/"); r.code != curlNoConnect {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	if r := curl(t, "-x", at("http", other), "-o", os.DevNull, "-w", "%{http_code}", o.url("127.0.0.1", "/echo")); r.out != "502" {
		t.Errorf("got %+v, want the new rules' 502", r)
	}
}

func TestStopLetsFlowsEnd(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	o := newOrigin(t, "127.0.0.1")
	const size = 16 << 20 // more than sockets buffer
	slow := harness.RunCmd(t, curlCmd(t, context.Background(), "-x", at("socks5h", k.mixed), "--limit-rate", "8M",
		"-o", filepath.Join(t.TempDir(), "out"), "-w", "%{size_download}", o.url("origin.test", fmt.Sprintf("/bytes?n=%d", size))))
	flow(t, k.Culvert, o.port)

	begin := time.Now()
	k.Cmd.Process.Signal(syscall.SIGTERM)

	if code := slow.Wait(); code != 0 || slow.Output() != fmt.Sprint(size) {
		t.Errorf("curl ended with %d and %q, want all %d bytes", code, slow.Output(), size)
	}
	if code := k.Wait(); code != 0 {
		t.Errorf("culvert ended with %d, want 0", code)
	}
	if !strings.Contains(k.Output(), "flows=1") {
		t.Errorf("the flow was over before the stop")
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("took %v, want less than service managers wait", took)
	}
}

func TestStopEndsFlowsThatDoNotEnd(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	p, _ := holding(t, k.Culvert, newOrigin(t, "127.0.0.1"), "origin.test", "-x", at("socks5h", k.mixed))

	begin := time.Now()
	k.Cmd.Process.Signal(syscall.SIGTERM)

	if code := k.Wait(); code != 0 || time.Since(begin) > 10*time.Second {
		t.Errorf("ended with %d after %v, want 0 before service managers kill", code, time.Since(begin))
	}
	p.Wait()
}

func TestSchemaIsJSON(t *testing.T) {
	t.Parallel()
	r := culvert(t, "", "schema")

	var s struct {
		Schema     string `json:"$schema"`
		Properties map[string]any
	}
	if err := json.Unmarshal([]byte(r.out), &s); err != nil || r.code != 0 || s.Schema == "" {
		t.Fatalf("exit %d, %v, %s", r.code, err, r.err)
	}
	for _, key := range []string{"mixed-port", "proxies", "proxy-groups", "rules", "listeners", "external-controller"} {
		if s.Properties[key] == nil {
			t.Errorf("no property %s", key)
		}
	}
}

func TestTopShowsFlowsOnce(t *testing.T) {
	t.Parallel()
	k := startGuarded(t)
	holding(t, k.Culvert, newOrigin(t, "127.0.0.1"), "origin.test", "-x", at("socks5h", k.mixed))

	r := culvert(t, "", "top", "-once", "-url", k.API, "-secret", token)

	if r.code != 0 || !strings.Contains(r.out, "origin.test") || !strings.Contains(r.out, "DIRECT") || strings.Contains(r.out, "\x1b[") {
		t.Errorf("got %+v", r)
	}
	if r := culvert(t, "", "top", "-once", "-url", k.API, "-secret", "wrong"); r.code == 0 || strings.Contains(r.err, "wrong") {
		t.Errorf("with a wrong secret: got %+v", r)
	}
}
