package conformance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

// FetcherCase is what the kit needs to know of a fetcher.
type FetcherCase struct {
	// YAML is a configuration that works, with %ADDR%, %HOST% and %PORT% for
	// the server.
	YAML string
	// Server serves what document returns at the time, until the end of the
	// test. nil is for a fetcher that has its documents elsewhere; it is checked
	// for one fetch of whatever there is.
	Server func(t testing.TB, document func() []byte) framework.Addr
}

// document is what the server under the kit's control serves.
type document struct {
	mu   sync.Mutex // guards body
	body []byte
}

func (d *document) text() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.body
}

func (d *document) set(b []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.body = b
}

func fetcherChecks() []check {
	return append(append(append(describeChecks(), schemaChecks()...), configureChecks()...),
		check{"lifecycle/New uses no network", fetcherUsesNoNetwork},
		check{"fetch/the document comes whole and with a version", documentIsWhole},
		check{"fetch/an unchanged document is ErrUnchanged", unchangedIsSaid},
		check{"fetch/a changed document comes with another version", changeIsSeen},
		check{"fetch/a body that is closed early leaves nothing behind", earlyClose},
		check{"fetch/a cancelled context ends the fetch in 100 ms", cancelEndsFetch},
		check{"fetch/a server that refuses is ErrRefused", fetchRefusal},
		check{"faults/a server that does not speak the protocol ends the fetch", fetchFaults},
	)
}

func (t *trial) buildFetcher(at framework.Addr) framework.Fetcher {
	f, err := buildAny[framework.Fetcher](t, fill(t.fetcher.YAML, at))
	if err != nil {
		t.fatalf("build: %v", err)
	}
	if c, ok := f.(io.Closer); ok {
		t.cleanup(func() { c.Close() })
	}
	return f
}

// hasServer says whether the configuration names a server.
func (t *trial) hasServer() bool {
	return fill(t.fetcher.YAML, framework.Addr{Host: "a", Port: 1}) != t.fetcher.YAML
}

// served is a fetcher whose server serves body.
func (t *trial) served(body []byte) framework.Fetcher {
	if !t.server.IsValid() {
		t.skipf("there is no server")
	}
	t.document.set(body)
	return t.buildFetcher(t.server)
}

// get fetches and reads all.
func (t *trial) get(f framework.Fetcher, since framework.Version) ([]byte, framework.Version) {
	doc, err := f.Fetch(t.context(), since)
	if err != nil {
		t.fatalf("fetch: %v", err)
	}
	defer doc.Body.Close()
	b, err := io.ReadAll(doc.Body)
	if err != nil {
		t.fatalf("read: %v", err)
	}
	return b, doc.Version
}

func fetcherUsesNoNetwork(t *trial) {
	t.buildFetcher(t.closed())
	if n := t.host.used.Load(); n > 0 {
		t.errorf("New asked the host %d times for the network", n)
	}
}

func documentIsWhole(t *trial) {
	if !t.hasServer() {
		t.get(t.buildFetcher(framework.Addr{}), "")
		return
	}
	for _, size := range []int{0, 1, 8 << 20} {
		want := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		f := t.served(want)
		if got, version := t.get(f, ""); !bytes.Equal(got, want) || version == "" {
			t.errorf("got %d bytes of version %q, want %d bytes and a version", len(got), version, size)
		}
	}
}

func unchangedIsSaid(t *trial) {
	f := t.served([]byte("one"))
	_, version := t.get(f, "")
	doc, err := f.Fetch(t.context(), version)
	if err == nil {
		doc.Body.Close()
	}
	if !errors.Is(err, framework.ErrUnchanged) {
		t.errorf("got %v, want %v", err, framework.ErrUnchanged)
	}
}

func changeIsSeen(t *trial) {
	f := t.served([]byte("one"))
	_, before := t.get(f, "")
	t.document.set([]byte("another"))
	body, after := t.get(f, before)
	if string(body) != "another" || after == before {
		t.errorf("got %q of version %q after version %q", body, after, before)
	}
}

func earlyClose(t *trial) {
	f := t.served(bytes.Repeat([]byte("x"), 8<<20))
	for range 5 {
		doc, err := f.Fetch(t.context(), "")
		if err != nil {
			t.fatalf("%v", err)
		}
		doc.Body.Read(make([]byte, 10))
		doc.Body.Close()
	}
}

func cancelEndsFetch(t *trial) {
	if !t.hasServer() {
		t.skipf("the type has no server")
	}
	begun := make(chan struct{}, 100)
	f := t.buildFetcher(t.listen("127.0.0.1:0", func(c *tcpConn) {
		c.Read(make([]byte, 1))
		begun <- struct{}{}
		hold(c)
	}))
	took := t.quickest(fetching(f), begun, cancelOnce)
	if took > prompt {
		t.errorf("returned %v after the end of its context, want at most %v", took, prompt)
	}
}

// fetching is a fetch as a dial.
func fetching(f framework.Fetcher) dial {
	return dial{"Fetch", func(ctx context.Context) (io.Closer, error) {
		doc, err := f.Fetch(ctx, "")
		return doc.Body, err
	}}
}

func fetchRefusal(t *trial) {
	if !t.hasServer() {
		t.skipf("the type has no server")
	}
	doc, err := t.buildFetcher(t.closed()).Fetch(t.context(), "")
	if err == nil {
		doc.Body.Close()
	}
	if framework.Classify(err) != framework.ErrRefused {
		t.errorf("got %v, want class %v", err, framework.ErrRefused)
	}
}

func fetchFaults(t *trial) {
	if !t.hasServer() {
		t.skipf("the type has no server")
	}
	for _, h := range hostile() {
		f := t.buildFetcher(t.listen("127.0.0.1:0", h.handle))
		ctx, cancel := context.WithTimeout(context.Background(), brief)
		if !t.within(t.pace.step, func() {
			doc, err := f.Fetch(ctx, "")
			if err == nil {
				io.Copy(io.Discard, doc.Body)
				doc.Body.Close()
			}
		}) {
			cancel()
			t.fatalf("%s: the fetch hangs beyond its deadline", h.story)
		}
		cancel()
	}
}
