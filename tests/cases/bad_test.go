package cases_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/tests/harness"
)

// The files of testdata/bad have mistakes in lines that end with "# here", or,
// where a comment would not be one, in those that the first line names after
// "# here:". What is said of them is in the .txt beside each.

// marked are the lines with mistakes.
func marked(t *testing.T, text string) (at []int) {
	t.Helper()
	if list, ok := strings.CutPrefix(strings.SplitN(text, "\n", 2)[0], "# here: "); ok {
		for word := range strings.FieldsSeq(list) {
			n, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			at = append(at, n)
		}
		return at
	}
	for i, line := range strings.Split(text, "\n") {
		if strings.HasSuffix(line, "# here") {
			at = append(at, i+1)
		}
	}
	return at
}

func TestEachMistakeIsReportedWithItsLine(t *testing.T) {
	t.Parallel()
	for _, file := range files(t, "testdata/bad/*.yaml", 40) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}

			p := problems(t, configs.Input{File: file})

			var at []int
			for _, one := range p.Errors() {
				at = append(at, one.Place.Line)
			}
			if got, want := slices.Compact(at), marked(t, string(text)); !slices.Equal(got, want) || len(got) == 0 {
				t.Errorf("mistakes in lines %v, want %v:\n%v", got, want, p)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", lines(p))
			if out, code := testRun(t, file, ""); code != 1 || out != lines(p) {
				t.Errorf("-t: exit %d, want 1:\n%s\nwant:\n%v", code, out, p)
			}
		})
	}
}

// inForce is a document that works, with one of each.
const inForce = `
mixed-port: %d
allow-lan: false
external-controller: '%%API%%'
hosts: {a.test: 127.0.0.1}
proxies: [{name: way, type: direct}, {name: other, type: socks5, server: 127.0.0.1, port: 1}]
proxy-groups: [{name: g, type: select, proxies: [way, other]}]
sub-rules: {sub: ['MATCH,g']}
rules: ['DOMAIN-SUFFIX,b.test,REJECT', 'SUB-RULE,(NETWORK,tcp),sub', 'MATCH,g']
listeners: [{name: l, type: socks, listen: 127.0.0.1, port: %d}]
`

func TestBadDocumentChangesNothing(t *testing.T) {
	t.Parallel()
	port := harness.Port(t)
	c := harness.Start(t, fmt.Sprintf(inForce, port, harness.Port(t)))
	flow := open(t, port)
	before := state(t, c)

	for _, file := range files(t, "testdata/bad/*.yaml", 40) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		said, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + ".txt")
		if err != nil {
			t.Fatal(err)
		}

		status, body := c.Call(t, http.MethodPut, "/configs?force=true", map[string]string{"payload": string(text)})

		if got := message(body); status != http.StatusBadRequest || got != onlyErrors(strings.ReplaceAll(string(said), name, "payload")) {
			t.Errorf("%s: %d, want 400, with the message\n%s\nwant\n%s", name, status, got, said)
		}
		if after := state(t, c); after != before {
			t.Errorf("%s changed what is in force:\n%s\nwas\n%s", name, after, before)
		}
	}
	c.Write(t, "mode: maybe")
	if status, body := c.Call(t, http.MethodPut, "/configs", struct{}{}); status != http.StatusBadRequest || !strings.HasPrefix(message(body), "config.yaml:1:7: mode: ") {
		t.Errorf("a bad file: %d %s", status, body)
	}
	if after := state(t, c); after != before {
		t.Errorf("a bad file changed what is in force:\n%s\nwas\n%s", after, before)
	}
	io.WriteString(flow, "ping")
	b := make([]byte, 4)
	if _, err := io.ReadFull(flow, b); err != nil || string(b) != "ping" {
		t.Errorf("the open flow: %q, %v", b, err)
	}
}

// state is what the controller shows, without what moves by itself.
func state(t *testing.T, c *harness.Culvert) string {
	t.Helper()
	var b strings.Builder
	for _, path := range []string{"/configs", "/proxies", "/rules"} {
		_, body := c.Call(t, http.MethodGet, path, nil)
		fmt.Fprintf(&b, "%s %s\n", path, body)
	}
	var open struct {
		Connections []struct {
			ID string `json:"id"`
		} `json:"connections"`
	}
	c.Get(t, "/connections", &open)
	fmt.Fprintln(&b, "flows", open.Connections)
	return b.String()
}

func message(body []byte) string {
	var m struct {
		Message string `json:"message"`
	}
	json.Unmarshal(body, &m)
	return m.Message
}

// onlyErrors drops the warnings of a golden file.
func onlyErrors(said string) string {
	var errs []string
	for line := range strings.Lines(said) {
		if !strings.Contains(line, ": warning: ") {
			errs = append(errs, strings.TrimSuffix(line, "\n"))
		}
	}
	return strings.Join(errs, "\n")
}

// open opens a flow to an echo server through the HTTP proxy at port.
func open(t *testing.T, port int) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with its only client
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(harness.Patience))
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\n\r\n", l.Addr())
	const answer = "HTTP/1.1 200 Connection established\r\n\r\n"
	b := make([]byte, len(answer))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != answer {
		t.Fatalf("got %q, %v", b, err)
	}
	return c
}
