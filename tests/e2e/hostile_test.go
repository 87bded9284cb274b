package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/tests/harness"
	"github.com/culvert-proxy/culvert/tests/require"
)

// handshakeTime is how long a handshake may take: 10 s by default, and what
// two busy cores add.
const handshakeTime = 14 * time.Second

// residentLimit is what the kernel may take up under attack; chosen: 3 times
// what it takes up with 200 open handshakes, far below what any of the attacks
// sends.
const residentLimit = 96 << 20

// resident is how much memory the kernel takes up.
func resident(t *testing.T, k *harness.Culvert) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", k.Cmd.Process.Pid))
	require.That(t, err == nil, "/proc")
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// isWell checks that the kernel still serves, and has not grown.
func isWell(t *testing.T, k open) {
	t.Helper()
	o := newOrigin(t, "127.0.0.1")
	for _, x := range []string{at("socks5h", k.mixed), at("http", k.mixed), at("socks4a", k.socks), at("http", k.http)} {
		fetch(t, o.url("origin.test", "/echo"), "-x", x)
	}
	got := resident(t, k.Culvert)
	t.Logf("takes up %d MiB", got>>20)
	if got > residentLimit {
		t.Errorf("takes up %d MiB, want at most %d", got>>20, residentLimit>>20)
	}
	if strings.Contains(k.Output(), "panic") {
		t.Error("says panic")
	}
}

// attack opens a connection, sends what, and returns all answers and how long
// the connection lived. It gives up after handshakeTime.
func attack(port int, what io.Reader) (answer string, lived time.Duration, err error) {
	begin := time.Now()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return "", 0, err
	}
	defer c.Close()
	c.SetDeadline(begin.Add(handshakeTime))
	sent := make(chan struct{})
	go func() { // ends with what, or when c ends
		defer close(sent)
		io.Copy(c, what)
	}()
	got, err := io.ReadAll(io.LimitReader(c, 1<<20))
	if isTimeout(err) {
		return string(got), time.Since(begin), err
	}
	lived = time.Since(begin)
	c.Close()
	<-sent
	return string(got), lived, nil
}

// drip reads one byte a second.
type drip struct{ rest string }

func (d *drip) Read(b []byte) (int, error) {
	if d.rest == "" {
		return 0, io.EOF
	}
	<-time.After(time.Second)
	n := copy(b[:1], d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

func TestUnfinishedHandshakesAreClosed(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	secure, guarded := harness.Port(t), harness.Port(t)
	indent := strings.NewReplacer("\n", "\n      ")
	k := startOpen(t, fmt.Sprintf(`
listeners:
  - {name: guarded, type: mixed, listen: 127.0.0.1, port: %d, users: [{username: bob, password: builder}]}
  - name: secure
    type: mixed
    listen: 127.0.0.1
    port: %d
    certificate: |
      %s
    private-key: |
      %s
`, guarded, secure, indent.Replace(cert), indent.Replace(key)))

	long := strings.Repeat("x", 60)
	half := []struct {
		port int
		sent string
		rest string // what a slow client goes on with
	}{
		{k.mixed, "", "\x05\x01\x00"},
		{k.http, "GET http://origin.test/ HTTP/1.1\r\nHost: ori", "gin.test\r\nX-Long: " + long},
		{k.mixed, "CONNECT origin.test:80 HTTP/1.1\r\n", "X-Long: " + long},
		{k.http, "POST http://", "origin.test/" + long},
		{k.socks, "\x05", "\xff" + long},
		{k.mixed, "\x05\xff\x00", long},
		{k.socks, "\x05\x01\x00", "\x05\x01\x00\x03\xff" + long},
		{k.mixed, "\x05\x01\x00\x05\x01\x00\x03\x40ori", long},
		{guarded, "\x05\x01\x02", "\x01\xff" + long},
		{guarded, "\x05\x01\x02\x01\x03bob", "\xff" + long},
		{k.socks, "\x04\x01\x00\x50\x7f\x00\x00\x01", long},
		{k.mixed, "\x04\x01\x00\x50\x00\x00\x00\x01user\x00", long},
		{secure, "", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + long},
		{secure, "\x16\x03\x01\x02\x00\x01", "\x00\x01\xfc\x03\x03" + long},
	}
	const clients = 200
	var all sync.WaitGroup
	for i := range clients {
		h := half[i/2%len(half)]
		var what io.Reader = strings.NewReader(h.sent)
		if i%2 == 0 {
			what = io.MultiReader(what, &drip{h.rest})
		}
		all.Go(func() {
			_, lived, err := attack(h.port, what)
			if err != nil {
				t.Errorf("port %d, %q, slow %v: %v after %v, want a close within 10 s", h.port, h.sent, i%2 == 0, err, lived)
			} else if lived < 5*time.Second && !strings.HasPrefix(h.sent, "\x05\xff") {
				t.Errorf("port %d, %q, slow %v: closed after %v already", h.port, h.sent, i%2 == 0, lived)
			}
		})
	}
	isWell(t, k)
	all.Wait()
	isWell(t, k)
}

func TestOversizedAndGarbledHandshakesAreRefused(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	long := func(n int64) io.Reader { return io.LimitReader(fill('a'), n) }
	const huge = 16 << 20
	var all sync.WaitGroup
	try := func(name string, port int, what io.Reader, statuses ...string) {
		all.Go(func() {
			answer, lived, err := attack(port, what)
			if err != nil || lived > handshakeTime-time.Second {
				t.Errorf("%s: %v after %v", name, err, lived)
			}
			for _, s := range statuses {
				if strings.HasPrefix(answer, "HTTP/1.1 "+s) {
					return
				}
			}
			if answer != "" && len(statuses) > 0 {
				t.Errorf("%s: answer %.200q, want %v or a close", name, answer, statuses)
			}
		})
	}
	for range 8 {
		try("a huge target", k.http, io.MultiReader(strings.NewReader("GET http://origin.test/"), long(huge)), "400", "414", "431")
		try("a huge field", k.mixed, io.MultiReader(strings.NewReader("GET http://origin.test/ HTTP/1.1\r\nX: "), long(huge)), "400", "431")
		try("many fields", k.http, io.MultiReader(strings.NewReader("CONNECT origin.test:80 HTTP/1.1\r\n"),
			strings.NewReader(strings.Repeat("X: y\r\n", huge/6))), "400", "431")
		try("a huge SOCKS4 user", k.socks, io.MultiReader(strings.NewReader("\x04\x01\x00\x50\x7f\x00\x00\x01"), long(huge)))
		try("a huge SOCKS4a name", k.socks, io.MultiReader(strings.NewReader("\x04\x01\x00\x50\x00\x00\x00\x01\x00"), long(huge)))
	}
	for i, port := range []int{k.mixed, k.http, k.socks} {
		for seed := range uint64(20) {
			first := []string{"", "\x05", "\x04", "\x16", "GET ", "\x05\x01\x00\x05"}[seed%6]
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			noisy := make([]byte, 64+r.IntN(4096))
			for j := range noisy {
				noisy[j] = byte(r.Uint32())
			}
			try(fmt.Sprintf("noise %d", seed), port, io.MultiReader(strings.NewReader(first), strings.NewReader(string(noisy))))
		}
	}
	all.Wait()
	isWell(t, k)
}

// fill is an endless stream of one byte.
type fill byte

func (f fill) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(f)
	}
	return len(b), nil
}

func TestSmuggledRequestsDoNotReachTheOrigin(t *testing.T) {
	t.Parallel()
	k := startOpen(t, "")
	const prize = "SMUGGLED /prize HTTP/1.1\r\nHost: x\r\n\r\n"
	const chunked = "Transfer-Encoding: chunked\r\n" // the head is right, the body is not

	for _, c := range []struct{ name, fields, body string }{
		{"length and chunks", "Content-Length: %d\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + prize},
		{"chunks and length", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\n" + prize},
		{"two lengths", "Content-Length: 0\r\nContent-Length: %d\r\n", prize},
		{"a list of lengths", "Content-Length: 0, %d\r\n", prize},
		{"a signed length", "Content-Length: +0\r\n", prize},
		{"a length in hex", "Content-Length: 0x0\r\n", prize},
		{"a space before the colon", "Content-Length : 0\r\n", prize},
		{"a folded line", "X: y\r\n Content-Length: 0\r\n", prize},
		{"a line feed alone", "X: y\nContent-Length: 0\r\n", prize},
		{"a carriage return alone", "X: y\rContent-Length: 0\r\n", prize},
		{"a null byte", "X: y\x00\r\nContent-Length: 0\r\n", prize},
		{"an unknown coding", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n" + prize},
		{"chunked, but not last", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n" + prize},
		{"chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + prize},
		{"chunked with a vertical tab", "Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n" + prize},
		{"a broken chunk size", chunked, "zz\r\n\r\n" + prize},
		{"a huge chunk size", chunked, "fffffffffffffffff0\r\n" + prize},
		{"a negative chunk size", chunked, "-1\r\n" + prize},
		{"a chunk without its end", chunked, "1\r\nxyz0\r\n\r\n" + prize},
		{"a name that says it twice", "Host: x\r\nHost: y\r\nContent-Length: 0\r\n", prize},
	} {
		t.Run(c.name, func(t *testing.T) {
			heard := &strings.Builder{}
			answer := ""
			t.Cleanup(func() { // when the origin has heard all
				got := heard.String()
				if strings.Contains(got, "SMUGGLED") {
					t.Errorf("origin got %q", got)
				}
				if c.fields != chunked && (got != "" || !strings.HasPrefix(answer, "HTTP/1.1 400 ")) {
					t.Errorf("answer %.60q, origin got %q, want 400 and nothing", answer, got)
				}
			})
			host := listenTCP(t, func(conn *net.TCPConn) { answerHeads(conn, heard) }).String()
			fields := strings.Replace(c.fields, "%d", strconv.Itoa(len(c.body)), 1)
			request := fmt.Sprintf("POST http://%s/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n%s", host, host, fields, c.body)

			got, lived, err := attack(k.http, strings.NewReader(request))
			answer = got

			if err != nil {
				t.Errorf("%v after %v, answer %q", err, lived, answer)
			}
		})
	}
	isWell(t, k)
}

// answerHeads answers each end of a head on c, and notes all that it hears.
func answerHeads(c *net.TCPConn, heard *strings.Builder) {
	c.SetDeadline(time.Now().Add(harness.Patience))
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		heard.Write(b[:n])
		if err != nil {
			return
		}
		if strings.Contains(string(b[:n]), "\r\n\r\n") {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}
}
