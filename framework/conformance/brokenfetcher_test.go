package conformance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// library is a toy fetcher: it sends the version that it has, and gets "same"
// or "new VERSION LENGTH" and the document.
type library struct {
	host   framework.Host
	config shelf
	edit   func(ctx context.Context, l *library, since framework.Version) (framework.Document, error)
}

type shelf struct {
	Server string `yaml:"server" required:"true" doc:"ip:port of the server"`
}

func (l *library) Fetch(ctx context.Context, since framework.Version) (framework.Document, error) {
	if l.edit != nil {
		return l.edit(ctx, l, since)
	}
	return l.fetch(ctx, since)
}

func (l *library) fetch(ctx context.Context, since framework.Version) (doc framework.Document, err error) {
	at, _ := netip.ParseAddrPort(l.config.Server)
	c, err := l.host.Dialer().DialStream(ctx, framework.AddrFrom(at))
	if err != nil {
		return doc, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	r := bufio.NewReader(io.LimitReader(c, 16<<20))
	var word string
	var size int64
	fmt.Fprintf(c, "since %s\n", since)
	_, err = fmt.Fscanf(r, "%s %s %d\n", &word, &doc.Version, &size)
	if word == "new" && err == nil {
		doc.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(r, size), closing(func() error { stop(); return c.Close() })}
		return doc, nil
	}
	stop()
	c.Close()
	switch {
	case ctx.Err() != nil:
		return doc, framework.Classed(framework.ErrTimeout, ctx.Err())
	case word == "same":
		return doc, framework.ErrUnchanged
	}
	return doc, framework.Classed(framework.ErrProtocol, fmt.Errorf("answer %q", word))
}

type closing func() error

func (c closing) Close() error { return c() }

func libraryDescriptor(edit func(context.Context, *library, framework.Version) (framework.Document, error)) framework.Descriptor {
	return framework.NewFetcher("library", func() shelf { return shelf{} },
		func(_ context.Context, h framework.Host, c shelf) (framework.Fetcher, error) {
			return &library{h, c, edit}, nil
		}, framework.WithSummary("gets a document from a shelf"))
}

func libraryServer(t testing.TB, document func() []byte) framework.Addr {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { // ends when l is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { // ends with c
				defer c.Close()
				var since string
				fmt.Fscanf(c, "since %s\n", &since)
				b := document()
				version := fmt.Sprintf("%x", sha256.Sum256(b))
				if since == version {
					fmt.Fprintf(c, "same %s 0\n", version)
					return
				}
				fmt.Fprintf(c, "new %s %d\n%s", version, len(b), b)
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return framework.AddrFrom(l.Addr().(*net.TCPAddr).AddrPort())
}

func libraryCase() FetcherCase {
	return FetcherCase{YAML: "server: '%ADDR%'", Server: libraryServer}
}

func TestRightFetcherPasses(t *testing.T) {
	Fetcher(t, libraryDescriptor(nil), libraryCase())
}

func TestEachCheckOfAFetcherFindsItsFlaw(t *testing.T) {
	t.Parallel()
	type fetch = func(context.Context, *library, framework.Version) (framework.Document, error)
	// edited changes what a right fetch gives.
	edited := func(f func(*framework.Document, *error)) fetch {
		return func(ctx context.Context, l *library, since framework.Version) (framework.Document, error) {
			doc, err := l.fetch(ctx, since)
			f(&doc, &err)
			return doc, err
		}
	}
	forever := func(t *testing.T) fetch {
		end := make(chan struct{})
		t.Cleanup(func() { close(end) })
		return func(context.Context, *library, framework.Version) (framework.Document, error) {
			<-end
			return framework.Document{}, errors.New("at last")
		}
	}
	list := []struct {
		check, says string
		flaw        func(*testing.T) fetch
	}{
		{"the document comes whole and with a version", "want 1 bytes", func(*testing.T) fetch {
			return edited(func(d *framework.Document, _ *error) {
				if d.Body != nil {
					d.Body.Close()
					d.Body = io.NopCloser(bytes.NewReader(nil))
				}
			})
		}},
		{"the document comes whole and with a version", `version ""`, func(*testing.T) fetch {
			return edited(func(d *framework.Document, _ *error) { d.Version = "" })
		}},
		{"an unchanged document is ErrUnchanged", "want unchanged", func(*testing.T) fetch {
			return func(ctx context.Context, l *library, _ framework.Version) (framework.Document, error) {
				return l.fetch(ctx, "")
			}
		}},
		{"a changed document comes with another version", "after version", func(*testing.T) fetch {
			return edited(func(d *framework.Document, _ *error) { d.Version = "always" })
		}},
		{"a body that is closed early leaves nothing behind", "left open", func(t *testing.T) fetch {
			return edited(func(d *framework.Document, _ *error) {
				if body := d.Body; body != nil {
					t.Cleanup(func() { body.Close() })
					d.Body = io.NopCloser(body)
				}
			})
		}},
		{"a cancelled context ends the fetch in 100 ms", "after the end of its context", forever},
		{"a server that refuses is ErrRefused", "want class refused", func(*testing.T) fetch {
			return edited(func(_ *framework.Document, err *error) { *err = errors.New("no luck") })
		}},
		{"a server that does not speak the protocol ends the fetch", "hangs", forever},
	}
	found := map[string]bool{}
	for _, b := range list {
		row := broken{check: b.check, says: b.says}
		c := find(t, fetcherChecks(), b.check)
		found[c.name] = true
		t.Run(b.check+"/"+b.says, func(t *testing.T) {
			t.Parallel()
			s := &subject{d: libraryDescriptor(b.flaw(t)), fetcher: libraryCase(), short: true, pace: hasty}
			s.server = libraryServer(t, s.document.text)
			row.failed(t, s.perform(s.ways()[0], c))
		})
	}
	for _, c := range fetcherChecks() {
		group, _, _ := strings.Cut(c.name, "/")
		if !found[c.name] && (group == "fetch" || group == "faults") {
			t.Errorf("no broken fetcher shows that %q can fail", c.name)
		}
	}
}
