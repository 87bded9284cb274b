package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// broken is an outbound with one flaw, and the check that finds it.
type broken struct {
	check string // the end of its name is enough
	flaw  func(t *testing.T) framework.Descriptor
	says  string // part of the fault
	way   string // "direct" unless said
	c     func(*Case)
}

// hasty is a pace for checks that fail by waiting.
var hasty = pace{whole: 20 * time.Second, step: 400 * time.Millisecond, settle: 150 * time.Millisecond}

func TestEachCheckFindsItsFlaw(t *testing.T) {
	t.Parallel()
	server := toyServer(t)
	found := map[string]bool{}
	for _, b := range brokenOutbounds() {
		c, w := find(t, outboundChecks(), b.check), 0
		if b.way == "wire" {
			w = 1
		}
		found[c.name] = true
		t.Run(b.check+"/"+b.says, func(t *testing.T) {
			t.Parallel()
			s := &subject{d: b.flaw(t), outbound: toyCase(), server: server, short: true, pace: hasty}
			if b.c != nil {
				b.c(&s.outbound)
			}
			b.failed(t, s.perform(s.ways()[w], c))
		})
	}
	for _, c := range outboundChecks() {
		if !found[c.name] && !strings.HasPrefix(c.name, "speed/") {
			t.Errorf("no broken outbound shows that %q can fail", c.name)
		}
	}
}

// find is the check whose name ends so.
func find(t *testing.T, checks []check, name string) check {
	t.Helper()
	for _, c := range checks {
		if strings.HasSuffix(c.name, name) {
			return c
		}
	}
	t.Fatalf("no check %q", name)
	return check{}
}

func (b broken) failed(t *testing.T, r Result) {
	t.Helper()
	if got := strings.Join(r.Faults, "\n"); b.says == "" || !strings.Contains(got, b.says) {
		t.Errorf("got %.500q %s, want a fault with %q", got, r.Skipped, b.says)
	}
}

func with(f flaw) func(*testing.T) framework.Descriptor {
	return func(*testing.T) framework.Descriptor { return toyDescriptor(f) }
}

func option(o framework.Option) func(*testing.T) framework.Descriptor {
	return func(*testing.T) framework.Descriptor { return toyDescriptor(flaw{}, o) }
}

// configured is an outbound with another configuration.
func configured[C any](edit func(*framework.Descriptor)) func(*testing.T) framework.Descriptor {
	return func(*testing.T) framework.Descriptor {
		d := framework.NewOutbound("toy", func() (c C) { return c }, func(context.Context, framework.Host, C) (framework.Outbound, error) {
			return &toy{}, nil
		})
		if edit != nil {
			edit(&d)
		}
		return d
	}
}

type undescribed struct {
	Server string `yaml:"server" doc:"a server"`
	Secret string `yaml:"secret"`
}

type strict struct {
	Server string `yaml:"server" doc:"a server"`
	Secret string `yaml:"secret" doc:"a secret"`
}

func (strict) Validate() error { return &framework.FieldError{Path: "secret", Msg: "is never right"} }

type fickle struct {
	Server string `yaml:"server" doc:"a server"`
	Secret string `yaml:"secret" doc:"a secret"`
}

// validated is what an impure Validate keeps.
var validated atomic.Int64

func (fickle) Validate() error { return fmt.Errorf("call %d", validated.Add(1)) }

type loose struct {
	Server any `yaml:"server" doc:"a server"`
	Secret any `yaml:"secret" doc:"a secret"`
}

const handWritten = `{"type": "object", "properties": {
	"server": {"type": "string", "description": "a server"},
	"secret": {"type": "string", "description": "a secret"},
	"ghost": {"type": "string", "description": "nobody reads it"}}}`

func brokenDescriptions() []broken {
	byHand := func(d *framework.Descriptor) { d.Schema = []byte(handWritten) }
	return []broken{
		{check: "type is spelled as its kind is", flaw: option(framework.WithAliases("My Toy")), says: "want lower case"},
		{check: "label, summary and stability are given", flaw: option(framework.WithSummary("")), says: "there is no summary"},
		{check: "label, summary and stability are given", flaw: option(framework.WithSummary("Ends.")), says: "without a full stop"},
		{check: "label, summary and stability are given", flaw: option(framework.WithLabel(" Toy")), says: "label"},
		{check: "label, summary and stability are given", flaw: option(framework.WithStability("solid")), says: "stability"},
		{check: "it is the same across the wire", way: "wire", flaw: option(framework.WithSummary("bell \a")), says: "want outbound toy"},
		{check: "schema is valid and describes every key", flaw: configured[undescribed](nil), says: `"secret" has no description`},
		{check: "sample is accepted and shows every key", flaw: with(flaw{}), says: "no such file",
			c: func(c *Case) { c.Sample = "testdata/none.yaml" }},
		{check: "sample is accepted and shows every key", flaw: configured[strict](nil), says: "is never right"},
		{check: "what the case gives is accepted", flaw: configured[strict](nil), says: "case.yaml:1:"},
		{check: "an unknown key is named with its line", flaw: configured[json.RawMessage](nil), says: "want a problem that names it"},
		{check: "a wrong type is named with its line", flaw: configured[loose](byHand), says: "want an error at line"},
		{check: "every key of the schema is known", flaw: configured[loose](byHand), says: "has the key ghost"},
		{check: "Validate gives the same answer every time", flaw: configured[fickle](nil), says: "then"},
	}
}

func brokenLifecycles() []broken {
	return []broken{
		{check: "New uses no network", says: "New asked the host 1 times", flaw: with(flaw{make: func(h framework.Host, c toyConfig) {
			h.Resolver().Lookup(context.Background(), "localhost")
		}})},
		{check: "New uses no network", says: "New dialled the server", flaw: with(flaw{make: func(_ framework.Host, c toyConfig) {
			if conn, err := net.Dial("tcp", c.Server); err == nil {
				conn.Close()
			}
		}})},
		{check: "an instance that was never used closes twice", says: "close of closed channel", flaw: func(*testing.T) framework.Descriptor {
			done := make(chan struct{})
			return toyDescriptor(flaw{close: func(*toy) { close(done) }})
		}},
		{check: "dials go through the host", says: "without Host.Dialer", flaw: with(flaw{dial: func(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) {
			return net.Dial("tcp", to.String())
		}})},
		{check: "two instances share nothing", says: "closed for all", flaw: func(*testing.T) framework.Descriptor {
			var closed atomic.Bool
			return toyDescriptor(flaw{close: func(*toy) { closed.Store(true) }, dial: func(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) {
				if closed.Load() {
					return nil, errors.New("closed for all")
				}
				return ask(ctx, o, to)
			}})
		}},
		{check: "a dial ends though Close comes in between", says: "does not return", flaw: deaf},
		{check: "nothing is left after use and Close", says: "goroutines are left behind", flaw: func(t *testing.T) framework.Descriptor {
			end := make(chan struct{})
			t.Cleanup(func() { close(end) })
			return toyDescriptor(flaw{stream: func(c net.Conn) net.Conn {
				go func() { <-end }()
				return c
			}})
		}},
		{check: "nothing is left after use and Close", says: "sockets from Host.Dialer are left open", flaw: func(t *testing.T) framework.Descriptor {
			return toyDescriptor(flaw{packet: func(c framework.PacketConn) framework.PacketConn {
				t.Cleanup(func() { c.Close() })
				return unclosed{c}
			}})
		}},
	}
}

// unclosed forgets to close what it wraps.
type unclosed struct{ framework.PacketConn }

func (unclosed) Close() error { return nil }

// deaf is an outbound that hears nothing of its context and reads for ever.
func deaf(t *testing.T) framework.Descriptor {
	return toyDescriptor(flaw{dial: func(_ context.Context, o *toy, to framework.Addr) (net.Conn, error) {
		c, err := net.Dial("tcp", o.config.Server)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { c.Close() })
		return c, request(c, "right", to)
	}, close: func(*toy) {}})
}

// stubborn is an outbound that asks again whatever comes.
func stubborn(t *testing.T) framework.Descriptor {
	end, ended := context.WithCancel(context.Background())
	var dials sync.WaitGroup
	t.Cleanup(func() { ended(); dials.Wait() })
	again := func(o *toy) error {
		dials.Add(1)
		defer dials.Done()
		<-end.Done()
		return end.Err()
	}
	return toyDescriptor(flaw{
		dial: func(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) { return nil, again(o) },
	})
}

func brokenDials() []broken {
	late := func(t *testing.T) framework.Descriptor { return stubborn(t) }
	list := []broken{
		{check: "every form of address is reached", says: "no IPv6", flaw: with(flaw{dial: func(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) {
			if to.IP.Is6() {
				return nil, errors.New("no IPv6")
			}
			return ask(ctx, o, to)
		}})},
		{check: "every form of address is reached", says: "no names", flaw: with(flaw{dial: func(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) {
			if to.Host != "" {
				return nil, errors.New("no names")
			}
			return ask(ctx, o, to)
		}})},
		{check: "a cancelled context ends the dial in 100 ms", says: "after the end of its context", flaw: deaf},
		{check: "an expired context ends the dial in 100 ms", says: "after the end of its context", flaw: late},
		{check: "an expired context ends the dial in 100 ms", says: "want an error of a class", flaw: with(flaw{dial: func(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) {
			<-ctx.Done()
			return nil, errors.New("too late")
		}})},
		{check: "a context that has ended dials nothing", says: "that had ended", flaw: with(flaw{dial: func(_ context.Context, o *toy, to framework.Addr) (net.Conn, error) {
			return o.host.Dialer().DialStream(context.Background(), to)
		}})},
		{check: "a stream outlives the context of its dial", says: "did not come back", flaw: with(flaw{dial: func(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) {
			c, err := ask(ctx, o, to)
			if err == nil {
				context.AfterFunc(ctx, func() { c.Close() })
			}
			return gated{c, ctx}, err
		}})},
		{check: "a server that refuses is ErrRefused", says: "want class refused", flaw: with(flaw{dial: func(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) {
			if c, err := ask(ctx, o, to); err == nil {
				return c, nil
			}
			return nil, errors.New("no luck")
		}})},
		{check: "a wrong secret is ErrAuth", says: "want class authentication", flaw: with(flaw{dial: func(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) {
			c, err := ask(ctx, o, to)
			if errors.Is(err, framework.ErrAuth) {
				err = framework.ErrProtocol
			}
			return c, err
		}})},
		{check: "a type that reaches nothing says so", says: "want an error of a class", c: func(c *Case) { c.Nowhere = true },
			flaw: with(flaw{dial: func(context.Context, *toy, framework.Addr) (net.Conn, error) { return nil, errors.New("no") }})},
	}
	for _, h := range hostile() {
		list = append(list, broken{check: "faults/" + h.story, says: "after its deadline", flaw: late})
	}
	return append(list, broken{check: "a server that answers garbage ends the dial", says: "panic: garbage",
		flaw: with(flaw{dial: func(ctx context.Context, o *toy, to framework.Addr) (net.Conn, error) {
			c, err := ask(ctx, o, to)
			if framework.Classify(err) == framework.ErrProtocol {
				panic("garbage")
			}
			return c, err
		}})})
}

// gated is a stream whose reads end with a context.
type gated struct {
	net.Conn
	ctx context.Context
}

func (g gated) Read(b []byte) (int, error) {
	<-g.ctx.Done()
	g.Conn.Close()
	return 0, io.ErrClosedPipe
}
