package control

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/registry"
	"github.com/culvert-proxy/culvert/registry/subproc"
)

// launch starts an executable as the kernel would. end ends it.
func launch(ctx context.Context, binary string) (p registry.Plugin, end func(), err error) {
	spec, err := locate(binary)
	if err != nil {
		return nil, nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	processes := subproc.New(subproc.Config{Home: filepath.Dir(spec.File), Log: log, Version: release()})
	p, err = processes.Launch(ctx, spec)
	if err != nil {
		processes.Close()
		return nil, nil, err
	}
	return p, func() { p.Close(0); processes.Close() }, nil
}

// locate is the entry of `plugins:` for an executable in its own folder.
func locate(binary string) (configs.Plugin, error) {
	file, err := filepath.Abs(binary)
	if err == nil {
		file, err = filepath.EvalSymlinks(file)
	}
	if err != nil {
		return configs.Plugin{}, err
	}
	name := filepath.Base(file)
	return configs.Plugin{Name: strings.TrimSuffix(name, filepath.Ext(name)), Path: name, File: file}, nil
}

// sample is a file that shows how types are configured.
type sample struct {
	path string
	root conf.Node
}

func readSample(path string) (*sample, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	tree, err := conf.Parse(path, text)
	if err != nil {
		return nil, err
	}
	return &sample{path: path, root: tree.Root()}, nil
}

// entry is the first that configures d: an element of `proxies`, a value of one
// of the provider sections, or the whole of a sample that is one entry.
func (s *sample) entry(d framework.Descriptor) (conf.Node, bool) {
	list := []conf.Node{s.root}
	switch d.Kind {
	case framework.KindOutbound:
		list = append(list, s.root.Get("proxies").Items()...)
	case framework.KindFetcher:
		for _, section := range []string{"proxy-providers", "rule-providers"} {
			for _, e := range s.root.Get(section).Entries() {
				list = append(list, e.Value)
			}
		}
	}
	for _, n := range list {
		typ, _ := n.GetLoose("type").Text()
		if typ == d.Type || slices.Contains(d.Aliases, typ) {
			return n, true
		}
	}
	return conf.Node{}, false
}

// rule is the payload and the parameters of the first rule of type d.
func (s *sample) rule(d framework.Descriptor) (payload string, params []string, ok bool) {
	for _, n := range s.root.Get("rules").Items() {
		text, _ := n.Text()
		fields := strings.Split(text, ",")
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		if len(fields) >= 3 && (fields[0] == d.Type || slices.Contains(d.Aliases, fields[0])) {
			return fields[1], fields[3:], true
		}
	}
	return "", nil, false
}

// template is an entry with one key on a line and the kit's placeholders for
// its server, which the keys server and port name, or server alone.
func template(n conf.Node, keys []string) (string, error) {
	var lines []string
	for _, e := range n.Entries() {
		if keys != nil && !slices.Contains(keys, e.Key) {
			continue
		}
		value, err := e.Value.JSON()
		if err != nil {
			return "", err
		}
		text := string(value)
		server, _ := e.Value.Text()
		_, port, err := net.SplitHostPort(server)
		if _, bad := strconv.ParseUint(port, 10, 16); e.Key == "server" {
			text = `"%HOST%"`
			if err == nil && bad == nil {
				text = `"%ADDR%"`
			}
		}
		if e.Key == "port" {
			text = "%PORT%"
		}
		lines = append(lines, fmt.Sprintf("%q: %s", e.Key, text))
	}
	return strings.Join(lines, "\n"), nil
}

// keysOf are the keys of d's own configuration.
func keysOf(d framework.Descriptor) []string {
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	json.Unmarshal(typeSchema(d), &s) // Describe has read it already
	keys := []string{}
	for k := range s.Properties {
		keys = append(keys, k)
	}
	return keys
}
