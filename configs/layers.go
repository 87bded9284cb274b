package configs

import (
	"maps"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// delimiter joins the keys of a koanf path. No key can hold it; a dot many do.
const delimiter = "\x1f"

// envPrefix begins the variables that override keys: CULVERT_MIXED_PORT is
// mixed-port, CULVERT_DNS__ENABLE is dns.enable.
const envPrefix = "CULVERT_"

// testVariable makes the repository's tests strict and is no key.
const testVariable = "CULVERT_REQUIRE"

// flagKeys is the keys that flags override.
var flagKeys = map[string]string{
	"ext-ctl":      "external-controller",
	"ext-ctl-tls":  "external-controller-tls",
	"ext-ctl-unix": "external-controller-unix",
	"ext-ctl-pipe": "external-controller-pipe",
	"ext-ui":       "external-ui",
	"secret":       "secret",
}

// clashKeys is the variables that other programs of this family know.
var clashKeys = map[string]string{
	"CLASH_OVERRIDE_EXTERNAL_CONTROLLER":      "external-controller",
	"CLASH_OVERRIDE_EXTERNAL_CONTROLLER_UNIX": "external-controller-unix",
	"CLASH_OVERRIDE_EXTERNAL_CONTROLLER_PIPE": "external-controller-pipe",
	"CLASH_OVERRIDE_EXTERNAL_UI_DIR":          "external-ui",
	"CLASH_OVERRIDE_SECRET":                   "secret",
}

// layers composes the defaults, the document, the environment and the flags.
// koanf decides which layer wins; origins remembers who set what.
type layers struct {
	k        *koanf.Koanf
	defaults map[string]any
	origins  map[string]string // koanf path → "env CULVERT_SECRET"
	problems conf.Problems
}

// compose returns the document's tree with what the environment and the flags
// set put over it. The error is what is wrong with the document.
func compose(in Input, name string, data []byte) (*conf.Tree, conf.Problems, error) {
	l := &layers{k: koanf.New(delimiter), defaults: conf.Values(Default()), origins: map[string]string{}}
	p := &parser{name: name, like: l.defaults}
	steps := []func() error{
		func() error { return l.k.Load(confmap.Provider(l.defaults, ""), nil) },
		func() error { return l.k.Load(rawbytes.Provider(data), p) },
		func() error { return l.k.Load(l.clash(in), nil) },
		func() error { return l.k.Load(l.environment(in), nil) },
		func() error { return l.k.Load(l.flags(in), nil) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, l.problems, err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(l.origins)) {
		p.tree.Set(strings.Split(path, delimiter), l.k.Get(path), l.origins[path])
	}
	return p.tree, l.problems, nil
}

// environment is the layer of the CULVERT_ variables.
func (l *layers) environment(in Input) koanf.Provider {
	return env.Provider(delimiter, env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return assignments(in.Environ) },
		TransformFunc: func(name, value string) (string, any) {
			path := strings.ToLower(strings.TrimPrefix(name, envPrefix))
			path = strings.ReplaceAll(path, "__", delimiter)
			path = strings.ReplaceAll(path, "_", "-")
			if name == testVariable {
				return "", nil
			}
			if !l.known(path) {
				l.unknown(name, path)
				return "", nil
			}
			l.origins[path] = "env " + name
			return path, value
		},
	})
}

// assignments is the variables that have a value at all.
func assignments(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(s string) bool { return !strings.Contains(s, "=") })
}

// known says whether a path leads to a key of the document.
func (l *layers) known(path string) bool {
	at := any(l.defaults)
	for key := range strings.SplitSeq(path, delimiter) {
		m, ok := at.(map[string]any)
		if !ok {
			return false
		}
		if at, ok = m[key]; !ok {
			return false
		}
	}
	return true
}

// unknown warns of a variable that sets nothing.
func (l *layers) unknown(name, path string) {
	near := ""
	if word := conf.Nearest(path, paths(l.defaults, "")); word != "" {
		near = "; did you mean " + envName(word) + "?"
	}
	l.problems = append(l.problems, conf.Problem{
		Severity: conf.Warning, Place: conf.Place{Origin: "env " + name}, Msg: "sets no known key" + near,
	})
}

// envName is the variable that overrides the key at a path.
func envName(path string) string {
	path = strings.ReplaceAll(path, delimiter, "__")
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, "-", "_"))
}

// paths is the koanf paths of all keys below m.
func paths(m map[string]any, prefix string) []string {
	var out []string
	for key, v := range m {
		out = append(out, prefix+key)
		if sub, ok := v.(map[string]any); ok {
			out = append(out, paths(sub, prefix+key+delimiter)...)
		}
	}
	slices.Sort(out)
	return out
}

// clash is the layer of the variables that other programs know; an empty one
// sets nothing.
func (l *layers) clash(in Input) koanf.Provider {
	set := map[string]any{}
	for _, pair := range in.Environ {
		name, value, _ := strings.Cut(pair, "=")
		if key := clashKeys[name]; key != "" && value != "" {
			set[key] = value
			l.origins[key] = "env " + name
		}
	}
	return confmap.Provider(set, delimiter)
}

// flags is the layer of the command line; an empty flag sets nothing.
func (l *layers) flags(in Input) koanf.Provider {
	set := map[string]any{}
	for name, value := range in.Flags {
		if key := flagKeys[name]; key != "" && value != "" {
			set[key] = value
			l.origins[key] = "flag -" + name
		}
	}
	return confmap.Provider(set, delimiter)
}

// parser is the koanf parser of the user's document. It keeps the tree, with
// places and order, and hands koanf the settings that a layer can override.
type parser struct {
	name string
	like map[string]any // the keys to hand over
	tree *conf.Tree
}

// Unmarshal parses the document.
func (p *parser) Unmarshal(data []byte) (map[string]any, error) {
	tree, err := conf.Parse(p.name, data)
	if err != nil {
		return nil, err
	}
	p.tree = tree
	return settings(tree.Root(), p.like), nil
}

// Marshal is the other half of koanf's interface.
func (p *parser) Marshal(map[string]any) ([]byte, error) {
	return nil, conf.Problem{Msg: "a document is only read"}
}

// settings is the part of n that has the keys of like. Entries of proxies,
// rules and the like stay in the tree: order and place would be lost, and
// nobody overrides them one by one.
func settings(n conf.Node, like map[string]any) map[string]any {
	out := map[string]any{}
	for _, e := range n.Entries() {
		old, known := like[e.Key]
		switch sub := old.(type) {
		case map[string]any:
			if e.Value.Kind() == conf.Map {
				out[e.Key] = settings(e.Value, sub)
			}
		default:
			if text, ok := e.Value.Text(); ok && known {
				out[e.Key] = text
			}
		}
	}
	return out
}
