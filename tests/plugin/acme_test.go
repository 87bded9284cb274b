package plugin

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/registry/subproc"
)

// acmeServer speaks ACME/1: it dials for who has the key, and has one list.
func acmeServer(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() { // ends with ln
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go serveAcme(c)
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

func serveAcme(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	line, _ := r.ReadString('\n')
	words := strings.Fields(line)
	switch {
	case line == "LIST\n":
		io.WriteString(c, "v7\nDOMAIN,a.test\n")
	case len(words) != 3 || words[1] != "swordfish":
		io.WriteString(c, "NO wrong key\n")
	default:
		out, err := net.Dial("tcp", words[2])
		if err != nil {
			fmt.Fprintf(c, "NO %v\n", err)
			return
		}
		defer out.Close()
		io.WriteString(c, "OK\n")
		go io.Copy(out, r) // ends with out
		io.Copy(c, out)
	}
}

// TestThirdPartyPluginDoesAllThreeKinds runs a plugin from a module of its own:
// an outbound, a rule that chooses it, and a fetcher.
func TestThirdPartyPluginDoesAllThreeKinds(t *testing.T) {
	t.Parallel()
	to, server := echo(t), acmeServer(t)
	in := newInside(t, subproc.Timing{}, fmt.Sprintf(`
plugins: [{path: acme}]
proxies:
  - {name: out, type: acme, server: 127.0.0.1, port: %d, key: swordfish}
  - {name: locked, type: acme, server: 127.0.0.1, port: %d}
rules: ['ACME-WORD,secret,out', 'MATCH,REJECT']
hosts: {my.secret.test: 127.0.0.1}
`, server, server))
	defer in.close(t)

	dialTo := func(host, via string) error {
		c, err := in.Through(via).DialStream(t.Context(), framework.Addr{Host: host, Port: to.Port()})
		if err != nil {
			return err
		}
		defer c.Close()
		return echoed(c, "hello")
	}
	if err := dialTo("localhost", "out"); err != nil {
		t.Errorf("outbound: %v", err)
	}
	if err := dialTo("localhost", "locked"); framework.Classify(err) != framework.ErrRefused || !strings.Contains(err.Error(), "wrong key") {
		t.Errorf("without the key: got %v, want the server's words and class refused", err)
	}
	if err := flow(in.port, to); err == nil {
		t.Error("a flow without the word is not rejected")
	}
	rules := in.Snapshot().Rules.Main().Rules()
	if rules[0].Label != "ACME-WORD" && rules[0].Label != "AcmeWord" {
		t.Errorf("the rule is called %q", rules[0].Label)
	}
	eventually(t, 5e9, func() error {
		var dials uint64
		in.Stats.PluginCounts(func(l stats.PluginLabels, n uint64) {
			if l.Metric == "dials" && l.Name == "out" {
				dials = n
			}
		})
		if dials != 1 {
			return fmt.Errorf("%d dials are counted, want 1", dials)
		}
		return nil
	})
	fetches(t, in, server)
}

func fetches(t *testing.T, in *inside, server int) {
	t.Helper()
	d, ok := in.Lookup(framework.KindFetcher, "acme-list")
	if !ok {
		t.Fatal("there is no fetcher")
	}
	tree, err := conf.Parse("config.yaml", fmt.Appendf(nil, "{server: 127.0.0.1, port: %d}", server))
	if err != nil {
		t.Fatal(err)
	}
	f, err := framework.Build[framework.Fetcher](t.Context(), d, testHost{in: in}, tree.Root().Source(conf.Loose))
	if err != nil {
		t.Fatal(err)
	}
	defer f.(io.Closer).Close()
	doc, err := f.Fetch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(doc.Body)
	doc.Body.Close()
	if err != nil || string(body) != "DOMAIN,a.test\n" || doc.Version != "v7" {
		t.Errorf("got %q, %q, %v", body, doc.Version, err)
	}
	if _, err := f.Fetch(t.Context(), "v7"); err != framework.ErrUnchanged {
		t.Errorf("got %v, want %v", err, framework.ErrUnchanged)
	}
}

// testHost dials as DIRECT does; it has nothing else.
type testHost struct {
	framework.Host
	in *inside
}

func (h testHost) Name() string             { return "list" }
func (h testHost) Dir() string              { return h.in.home }
func (h testHost) Dialer() framework.Dialer { return h.in.Through("DIRECT") }
func (testHost) Count(string, uint64)       {}
