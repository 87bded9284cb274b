package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

// Remote is the kernel's end of one plugin, for as long as it is loaded:
// processes come and go, its instances stay the same objects. While no process
// is attached their dials fail at once with ErrUnavailable. It is safe for
// concurrent use.
type Remote struct {
	name string
	log  *slog.Logger

	buffers buffers
	tasks   sync.WaitGroup // event streams, and Closes of rules
	refused atomic.Uint64  // rule calls that failed
	ctx     context.Context
	stop    context.CancelFunc

	mu        sync.Mutex // guards all below
	current   *Client    // nil while no process is attached
	types     map[typeKey]*remoteType
	version   string
	instances map[uint32]*instance
	rules     map[ruleKey]*ruleInstance
	last      uint32 // the handle that was given last
}

type typeKey struct{ kind, typ string }

// remoteType is one type as the attached process described it.
type remoteType struct {
	*pb.Type
	schema *schema // nil for a rule
}

// NewRemote makes a Remote without a process.
func NewRemote(name string, log *slog.Logger) *Remote {
	r := &Remote{name: name, log: log, types: map[typeKey]*remoteType{}, instances: map[uint32]*instance{}, rules: map[ruleKey]*ruleInstance{}}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Close lets go of the process, for good. Instances that are left stay
// unavailable.
func (r *Remote) Close() {
	r.stop()
	r.detach(nil)
	r.tasks.Wait()
}

// Version is what the process calls its own version.
func (r *Remote) Version() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.version
}

// Instances is how many configured things use the plugin, by kind and type.
func (r *Remote) Instances() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.instances)
}

// FailedRules is how many times a rule could not be asked.
func (r *Remote) FailedRules() uint64 { return r.refused.Load() }

// Names are the instances that use one of the types of the plugin.
func (r *Remote) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, i := range r.instances {
		names = append(names, fmt.Sprintf("%s %q", i.kind, i.label()))
	}
	slices.Sort(names)
	return names
}

// Description is what a process says it holds.
type Description struct {
	Version string
	types   map[typeKey]*remoteType
}

// Describe asks a process what it holds and checks the answer.
func Describe(ctx context.Context, c *Client, kernel string) (*Description, error) {
	reply, err := c.Describe(ctx, &pb.DescribeRequest{Kernel: kernel, Capabilities: Capabilities()})
	if err != nil {
		return nil, fmt.Errorf("describe: %w", control(err))
	}
	d := &Description{Version: printable([]byte(reply.Version)), types: map[typeKey]*remoteType{}}
	var errs []error
	for _, t := range reply.Types {
		rt, err := checkType(t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if d.types[typeKey{t.Kind, t.Type}] != nil {
			errs = append(errs, fmt.Errorf("describe: %s %q stands twice", t.Kind, t.Type))
		}
		d.types[typeKey{t.Kind, t.Type}] = rt
	}
	if len(reply.Types) == 0 {
		errs = append(errs, errors.New("describe: the plugin holds no type"))
	}
	return d, errors.Join(errs...)
}

// Types are the Descriptors of what the attached process holds, or the last
// one held, sorted by kind and type.
func (r *Remote) Types() []framework.Descriptor {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.descriptors(r.types)
}

// TypesOf are the Descriptors that r has once d's process is attached.
func (r *Remote) TypesOf(d *Description) []framework.Descriptor { return r.descriptors(d.types) }

func (r *Remote) descriptors(types map[typeKey]*remoteType) []framework.Descriptor {
	keys := slices.SortedFunc(maps.Keys(types), func(a, b typeKey) int {
		return slices.Compare([]string{a.kind, a.typ}, []string{b.kind, b.typ})
	})
	var list []framework.Descriptor
	for _, k := range keys {
		list = append(list, r.descriptor(types[k]))
	}
	return list
}

// Check holds every instance against the process at c, which holds d, and
// returns what it does not take, at the lines of the configuration.
func (r *Remote) Check(ctx context.Context, c *Client, d *Description) error {
	var problems conf.Problems
	for _, i := range r.list() {
		if d.types[typeKey{i.kind, i.typ}] == nil {
			problems = append(problems, i.problem("", fmt.Sprintf("the plugin holds no %s %q any more", i.kind, i.typ)))
			continue
		}
		reply, err := c.Check(ctx, i.message())
		if err != nil {
			return fmt.Errorf("check %s %q: %w", i.kind, i.label(), control(err))
		}
		for _, p := range reply.Problems {
			if !p.Warning {
				problems = append(problems, i.problem(p.Path, p.Message))
			}
		}
	}
	problems.Sort()
	return problems.Err()
}

// Attach opens every instance in the process at c, which holds d, and then
// sends new flows there. With strict, an instance that cannot be opened is an
// error, and nothing has changed; without, it stays unavailable.
func (r *Remote) Attach(ctx context.Context, c *Client, d *Description, strict bool) error {
	list := r.list()
	for _, i := range list {
		if err := i.open(ctx, c); err != nil && strict {
			return err
		} else if err != nil {
			r.log.Error("an instance does not open", "plugin", r.name, i.kind, i.label(), "err", err)
		}
	}
	r.mu.Lock()
	r.current, r.types, r.version = c, d.types, d.Version
	late := slices.Collect(maps.Values(r.instances))
	r.mu.Unlock()
	for _, i := range list {
		i.use(c)
	}
	for _, i := range late { // made while the others were opened
		if i.open(ctx, c) == nil {
			i.use(c)
		}
	}
	r.tasks.Go(func() { r.events(c) }) // ends with the process or Close
	return nil
}

// Detach lets go of a process that ended; another one stays.
func (r *Remote) Detach(c *Client) { r.detach(c) }

// detach takes c, or any process, out of use.
func (r *Remote) detach(c *Client) {
	r.mu.Lock()
	if c == nil {
		c = r.current
	}
	if r.current == c {
		r.current = nil
	}
	list := slices.Collect(maps.Values(r.instances))
	r.mu.Unlock()
	for _, i := range list {
		i.leave(c)
	}
	if c != nil {
		c.idle.end()
	}
}

func (r *Remote) list() []*instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.instances))
}

// attached is the process in use, nil for none.
func (r *Remote) attached() *Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

// instanceOf finds an instance by its handle.
func (r *Remote) instanceOf(handle uint32) *instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.instances[handle]
}

// events adds what a process counts to the counters of its instances.
func (r *Remote) events(c *Client) {
	stream, err := c.Events(r.ctx, &pb.EventsRequest{})
	for err == nil {
		var e *pb.Event
		if e, err = stream.Recv(); err != nil {
			return
		}
		if n := e.GetCount(); n != nil {
			if i := r.instanceOf(n.Handle); i != nil {
				i.count(n.Metric, n.N)
			}
		}
	}
}
