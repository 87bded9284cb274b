package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

func configureChecks() []check {
	return []check{
		{"configuration/what the case gives is accepted", configIsAccepted},
		{"configuration/an unknown key is named with its line", unknownKeyIsNamed},
		{"configuration/a wrong type is named with its line", wrongTypeIsNamed},
		{"configuration/every key of the schema is known", schemaKeysDecode},
		{"configuration/Validate gives the same answer every time", validateIsPure},
	}
}

// common are the keys of an entry that the kernel reads.
func common() []string {
	return []string{"name", "type", "udp", "ip-version", "tfo", "mptcp", "interface-name", "routing-mark", "dialer-proxy"}
}

// file is what problems call the kit's configurations.
const file = "case.yaml"

// source reads a configuration as the kernel reads an entry.
func source(yaml string) (*conf.Source, error) {
	tree, err := conf.Parse(file, []byte(yaml))
	if err != nil {
		return nil, err
	}
	return tree.Root().Source(conf.Loose, common()...), nil
}

// yaml is the case's configuration for a server that is not asked.
func (t *trial) yaml() string {
	text := t.outbound.YAML
	if t.d.Kind == framework.KindFetcher {
		text = t.fetcher.YAML
	}
	return fill(text, framework.Addr{Host: "localhost", Port: 1})
}

// checked is what Check says of a configuration, warnings included.
func (t *trial) checked(yaml string) (warnings conf.Problems, err error) {
	src, err := source(yaml)
	if err != nil {
		t.fatalf("%v", err)
	}
	err = t.d.Check(src)
	return src.Warnings(), err
}

func configIsAccepted(t *trial) {
	warnings, err := t.checked(t.yaml())
	if err != nil {
		t.errorf("%v", err)
	}
	for _, w := range warnings {
		t.errorf("%v", w)
	}
}

// lines is the case's configuration with a key on each line, and the number of
// the line of each.
func (t *trial) lines() (text []string, at map[string]int) {
	tree, err := conf.Parse(file, []byte(t.yaml()))
	if err != nil {
		t.fatalf("%v", err)
	}
	at = map[string]int{}
	for _, e := range tree.Root().Entries() {
		value, err := e.Value.JSON()
		if err != nil {
			t.fatalf("%v", err)
		}
		text = append(text, fmt.Sprintf("%q: %s", e.Key, value))
		at[e.Key] = len(text) - 1
	}
	return text, at
}

func unknownKeyIsNamed(t *trial) {
	const key = "zz-unheard-of"
	text, _ := t.lines()
	text = append(text, key+": 1")
	warnings, err := t.checked(strings.Join(text, "\n"))
	said := append(conf.Problems{}, warnings...)
	var errs conf.Problems
	if errors.As(err, &errs) {
		said = append(said, errs...)
	}
	for _, p := range said {
		if p.Path == key && p.Place.Line == len(text) {
			return
		}
	}
	t.errorf("the key %s at line %d: got %v, %v, want a problem that names it", key, len(text), warnings, err)
}

func wrongTypeIsNamed(t *trial) {
	s, err := schemaOf(t.d)
	if err != nil {
		t.fatalf("%v", err)
	}
	for _, key := range s.keys() {
		wrong := s.Properties[key].wrong()
		if wrong == "" {
			continue
		}
		text, line := t.with(key, wrong)
		_, err := t.checked(text)
		var problems conf.Problems
		if !errors.As(err, &problems) || !named(problems, key, line) {
			t.errorf("%s: %s: got %v, want an error at line %d that names the key", key, wrong, err, line)
		}
	}
}

func named(ps conf.Problems, key string, line int) bool {
	for _, p := range ps {
		if strings.HasPrefix(p.Path, key) && p.Place.Line == line {
			return true
		}
	}
	return false
}

// with is the configuration with another value of one key, and the key's line.
func (t *trial) with(key, value string) (yaml string, line int) {
	text, at := t.lines()
	i, ok := at[key]
	if !ok {
		i = len(text)
		text = append(text, "")
	}
	text[i] = fmt.Sprintf("%q: %s", key, value)
	return strings.Join(text, "\n"), i + 1
}

// schemaKeysDecode gives each key a value of its type. Validate may refuse the
// value, but the key is not unknown.
func schemaKeysDecode(t *trial) {
	s, err := schemaOf(t.d)
	if err != nil {
		t.fatalf("%v", err)
	}
	for _, key := range s.keys() {
		text, line := t.with(key, s.Properties[key].example())
		warnings, _ := t.checked(text)
		for _, w := range warnings {
			if w.Place.Line == line {
				t.errorf("the schema has the key %s, the configuration does not: %v", key, w)
			}
		}
	}
}

// validateIsPure checks right and wrong configurations many times at once.
func validateIsPure(t *trial) {
	texts := []string{t.yaml(), "{}"}
	if s, err := schemaOf(t.d); err == nil {
		for _, key := range s.keys() {
			text, _ := t.with(key, s.Properties[key].example())
			texts = append(texts, text)
		}
	}
	for _, text := range texts {
		first := fmt.Sprint(t.checked(text))
		var running sync.WaitGroup
		for range 8 {
			running.Go(func() { // ends with the check
				defer t.guard()
				if again := fmt.Sprint(t.checked(text)); again != first {
					t.errorf("%s: first %s, then %s", text, first, again)
				}
			})
		}
		running.Wait()
	}
}

// buildAny makes an instance of a kind that is not an outbound, too.
func buildAny[T any](t *trial, yaml string) (T, error) {
	src, err := source(yaml)
	if err != nil {
		t.fatalf("%v", err)
	}
	return framework.Build[T](context.Background(), t.d, t.host, src)
}
