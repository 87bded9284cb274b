package configs

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// Plugin is an entry of `plugins:`: an executable that holds plugin types.
type Plugin struct {
	Name   string                      `yaml:"name" doc:"what logs and the API call it; the file's name without its extension when empty"`
	Path   string                      `yaml:"path" required:"true" doc:"the executable, relative to the home directory and inside it"`
	SHA256 string                      `yaml:"sha256" doc:"digest of the executable in hex, checked before each start"`
	Args   []string                    `yaml:"args" doc:"arguments"`
	Env    map[string]framework.Secret `yaml:"env" doc:"the whole environment of the process"`
	Drain  Span                        `yaml:"drain" doc:"how long flows may stay on a process that was replaced, as 5m"`
	Limits PluginLimits                `yaml:"limits" doc:"what the process may use, Linux"`

	File string    `yaml:"-"` // Path, absolute, links resolved by whoever starts it
	Node conf.Node `yaml:"-"`
}

// PluginLimits bound a plugin process. 0 is no limit.
type PluginLimits struct {
	Memory    int `yaml:"memory" min:"0" max:"1048576" doc:"MiB of memory"`
	Files     int `yaml:"files" min:"0" max:"1048576" doc:"open descriptors"`
	Processes int `yaml:"processes" min:"0" max:"1048576" doc:"processes and threads of this user, root excepted"`
}

// Span is a length of time, written as 90s or 5m.
type Span time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 {
		return fmt.Errorf("%q is no length of time; write it as 90s or 5m", text)
	}
	*s = Span(d)
	return nil
}

// String is the span as it is written.
func (s Span) String() string { return time.Duration(s).String() }

var pluginName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Validate checks what the types cannot say.
func (p *Plugin) Validate() error {
	if p.SHA256 != "" {
		if b, err := hex.DecodeString(p.SHA256); err != nil || len(b) != 32 {
			return &framework.FieldError{Path: "sha256", Msg: "want 64 hex digits"}
		}
	}
	return nil
}

// DecodePlugins reads `plugins:`. Entries with mistakes are left out.
func (d *Document) DecodePlugins() ([]Plugin, conf.Problems) {
	var out []Plugin
	var problems conf.Problems
	first := map[string]conf.Node{}
	for _, n := range d.Plugins {
		p := Plugin{Drain: Span(5 * time.Minute), Node: n}
		found := n.Decode(&p, conf.Loose)
		if len(found.Errors()) == 0 {
			found = append(found, p.locate(d.Home)...)
		}
		if have, twice := first[p.Name]; twice && len(found.Errors()) == 0 {
			found = append(found, n.Errorf("a plugin named %q is there already, at %s; give one a name of its own", p.Name, have.Place()))
		}
		problems = append(problems, found...)
		if len(found.Errors()) == 0 {
			first[p.Name] = n
			out = append(out, p)
		}
	}
	return out, problems
}

// locate finds the executable and the name. Only what is in the home directory
// is ever started.
func (p *Plugin) locate(home string) conf.Problems {
	at := p.Node.GetLoose("path")
	p.File = filepath.Clean(p.Path)
	if !filepath.IsAbs(p.File) {
		p.File = filepath.Join(home, p.File)
	}
	rel, err := filepath.Rel(home, p.File)
	if err != nil || rel == "." || !filepath.IsLocal(rel) {
		return conf.Problems{at.Errorf("outside the home directory: plugins are started from there only")}
	}
	if p.Name == "" {
		p.Name = strings.TrimSuffix(filepath.Base(p.File), filepath.Ext(p.File))
	}
	if !pluginName.MatchString(p.Name) {
		return conf.Problems{p.Node.Errorf("%q is no name of a plugin: want letters, digits, dots, - and _", p.Name)}
	}
	return nil
}
