package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// instance is the kernel's side of one configured thing. It keeps what it was
// configured with, and is opened again in each process that comes.
type instance struct {
	r      *Remote
	handle uint32
	kind   string
	typ    string
	config []byte // JSON
	host   framework.Host
	lines  lines

	at atomic.Pointer[Client] // where dials go; nil while unavailable

	mu      sync.Mutex // guards opened, reply, metrics
	opened  *Client    // the last process that has it open
	closed  bool
	reply   *pb.OpenReply
	metrics map[string]bool
}

var errGone = errors.New("the plugin is not running")

// adopt gives i a handle and opens it where a process is attached. The error
// says what the process does not like about the configuration; that there is
// no process is none.
func (r *Remote) adopt(ctx context.Context, i *instance) error {
	r.mu.Lock()
	r.last++
	i.r, i.handle = r, r.last
	r.instances[i.handle] = i
	c := r.current
	r.mu.Unlock()
	if c == nil {
		return nil
	}
	err := i.open(ctx, c)
	if err == nil {
		i.use(c)
		return nil
	}
	if errors.Is(err, framework.ErrUnavailable) {
		return nil // the process is ending: the next one opens it
	}
	r.forget(i)
	return err
}

func (r *Remote) forget(i *instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.instances, i.handle)
}

func (i *instance) label() string {
	if i.host != nil {
		return i.host.Name()
	}
	return i.typ
}

func (i *instance) message() *pb.Instance {
	m := &pb.Instance{Handle: i.handle, Kind: i.kind, Type: i.typ, Name: i.label(), Config: i.config}
	if i.host != nil {
		m.Dir = i.host.Dir()
	}
	return m
}

// open opens i in the process at c; it may be called twice.
func (i *instance) open(ctx context.Context, c *Client) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.opened == c || i.closed {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	reply, err := c.Open(ctx, i.message())
	if err != nil {
		return fmt.Errorf("open %s %q: %w", i.kind, i.label(), control(err))
	}
	if err := i.problems(reply.Problems); err != nil {
		return err
	}
	i.opened, i.reply = c, reply
	return nil
}

// problems is the mistakes among ps, at their lines; nil when there is none.
func (i *instance) problems(ps []*pb.Problem) error {
	var out conf.Problems
	for _, p := range ps {
		if !p.Warning {
			out = append(out, i.problem(p.Path, p.Message))
		}
	}
	return out.Err()
}

func (i *instance) problem(path, msg string) conf.Problem {
	p, ok := i.lines[path]
	if !ok {
		if p = i.lines[""]; p.Path == "" || path == "" {
			p.Subject = fmt.Sprintf("%s %q", i.kind, i.label())
		}
		if path != "" {
			msg = path + ": " + msg
		}
	}
	p.Msg = printable([]byte(msg))
	return p
}

// use sends dials to the process at c, when it has i open.
func (i *instance) use(c *Client) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.opened == c && !i.closed {
		i.at.Store(c)
	}
}

// leave makes i unavailable when its dials go to c.
func (i *instance) leave(c *Client) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.at.Load() == c {
		i.at.Store(nil)
	}
}

// client is where to dial.
func (i *instance) client() (*Client, error) {
	if c := i.at.Load(); c != nil {
		return c, nil
	}
	return nil, framework.Classed(framework.ErrUnavailable, fmt.Errorf("plugin %q: %w", i.r.name, errGone))
}

// Close lets i go, here and in the process.
func (i *instance) Close() error {
	i.r.forget(i)
	i.mu.Lock()
	was := i.closed
	i.closed = true
	c := i.opened
	i.mu.Unlock()
	i.at.Store(nil)
	if was || c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	c.Close(ctx, &pb.CloseRequest{Handle: i.handle}) // a process that is gone has closed it
	return nil
}

// maxMetrics bounds the counters of an instance: labels are the operator's,
// not the plugin's. Chosen.
const maxMetrics = 64

// count adds to a counter; a name that is no metric's is left out.
func (i *instance) count(metric string, n uint64) {
	if i.host == nil || !isMetric(metric) {
		return
	}
	i.mu.Lock()
	if i.metrics == nil {
		i.metrics = map[string]bool{}
	}
	known := i.metrics[metric] || len(i.metrics) < maxMetrics
	if known {
		i.metrics[metric] = true
	}
	i.mu.Unlock()
	if known {
		i.host.Count(metric, n)
	}
}

func isMetric(s string) bool {
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// lines says where each key of a configuration stands, by its path.
type lines map[string]conf.Problem

func linesOf(n conf.Node) lines {
	l := lines{}
	l.add("", n)
	return l
}

func (l lines) add(path string, n conf.Node) {
	l[path] = n.Errorf("")
	for _, e := range n.Entries() {
		key := e.Key
		if path != "" {
			key = path + "." + key
		}
		l.add(key, e.Value)
	}
	for at, item := range n.Items() {
		l.add(fmt.Sprintf("%s[%d]", path, at), item)
	}
}
