package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// Plugins runs what `plugins:` names; *registry.Registry does.
type Plugins interface {
	// Apply loads what is new in list and upgrades what changed. There is an
	// error for each entry, nil where it went well.
	Apply(ctx context.Context, list []configs.Plugin) []error
	// Keep unloads what list does not name.
	Keep(list []configs.Plugin)
	// Epoch tells one load of a type from another; 0 for one that is linked in.
	Epoch(framework.Kind, string) uint64
}

// loaded is the plugins of the document in force.
type loaded struct {
	mu   sync.Mutex // guards list; held for a whole apply of a document with plugins
	list []configs.Plugin
}

// starts says whether the plugins of doc are started: only a file on this
// machine may name programs. What came in otherwise leaves the plugins that
// run as they are.
func (k *Kernel) starts(doc *configs.Document) bool { return k.Plugins != nil && doc.File != "" }

// withPlugins runs f with the plugins of doc loaded. When f fails, and after a
// mere check, those before are in force again.
func (k *Kernel) withPlugins(ctx context.Context, doc *configs.Document, keep bool, f func() error) error {
	if !k.starts(doc) {
		return f()
	}
	k.loaded.mu.Lock()
	if len(doc.Plugins) == 0 && len(k.loaded.list) == 0 {
		k.loaded.mu.Unlock()
		return f()
	}
	defer k.loaded.mu.Unlock()
	list, problems := doc.DecodePlugins()
	err := problems.Err()
	if err == nil {
		err = k.load(ctx, list)
	}
	if err == nil {
		err = f()
	}
	if err == nil && keep {
		k.loaded.list = list
	} else {
		k.load(ctx, k.loaded.list) // they ran a moment ago; what fails is in the log
	}
	k.Plugins.Keep(k.loaded.list)
	return err
}

// load starts the plugins of list and puts mistakes at their entries.
func (k *Kernel) load(ctx context.Context, list []configs.Plugin) error {
	var problems conf.Problems
	for i, err := range k.Plugins.Apply(ctx, list) {
		if err == nil {
			continue
		}
		at := list[i].Node.GetLoose("path")
		var refused conf.Problems
		if errors.As(err, &refused) {
			problems = append(append(problems, at.Errorf("the plugin stays as it is: it refuses what is configured")), refused...)
			continue
		}
		problems = append(problems, at.Errorf("%v", err))
	}
	return problems.Err()
}

// planPlugins checks `plugins:`.
func (k *Kernel) planPlugins(p *plan) {
	_, problems := p.doc.DecodePlugins()
	p.add(problems...)
	if len(p.doc.Plugins) > 0 && p.doc.File == "" {
		p.add(p.doc.Plugins[0].Warnf("plugins are started from a configuration file only: those that run stay, others do not start"))
	}
}

// ofEpoch makes a configured thing another one when its type was unloaded and
// loaded again.
func (k *Kernel) ofEpoch(s *key) {
	if epoch := k.epoch(s.kind, s.typ); epoch != 0 {
		s.hash = sha256.Sum256(binary.BigEndian.AppendUint64(s.hash[:], epoch))
	}
}

func (k *Kernel) epoch(kind framework.Kind, typ string) uint64 {
	if k.Plugins == nil {
		return 0
	}
	return k.Plugins.Epoch(kind, typ)
}
