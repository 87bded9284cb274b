package cases_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// otherVerdict are the cases that are decided otherwise here, with the reason.
var otherVerdict = map[string]string{
	"listener-tun-bad-stack": "listeners of type tun are not built: their own keys are not read",
}

type parseCase struct {
	Name   string `yaml:"name"`
	Accept bool   `yaml:"accept"`
	Config string `yaml:"config"`
	Peer   string `yaml:"peer-error"` // what the peer printed
}

func parseCases(t *testing.T) []parseCase {
	t.Helper()
	text, err := os.ReadFile("testdata/parse-cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := conf.Parse("parse-cases.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []parseCase `yaml:"cases"`
	}
	if p := tree.Root().Decode(&file, conf.Strict); len(p) > 0 {
		t.Fatal(p)
	}
	if len(file.Cases) < 120 {
		t.Fatalf("%d cases: the file is cut", len(file.Cases))
	}
	return file.Cases
}

func TestEveryVerdictAgreesWithThePeers(t *testing.T) {
	t.Parallel()
	for _, c := range parseCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			in := configs.Input{File: "-", Stdin: strings.NewReader(c.Config)}

			p := problems(t, in)

			accepted := len(p.Errors()) == 0
			if why, other := otherVerdict[c.Name]; other && accepted == c.Accept {
				t.Errorf("agrees, and is on the list because: %s", why)
			} else if !other && accepted != c.Accept {
				t.Errorf("accepted: %v, want %v; ours: %v; peer: %s", accepted, c.Accept, p, c.Peer)
			}
			for _, one := range p.Errors() {
				if one.Place.Line == 0 && c.Config != "" {
					t.Errorf("no line: %v", one)
				}
			}
		})
	}
}

func TestBinaryGivesTheSameVerdicts(t *testing.T) {
	t.Parallel()
	some := map[string]bool{"empty-file": true, "only-comment": true, "dup-key": true, "crlf": true, "tunnels-line-proxy-missing": true,
		"listener-users-map": true, "second-doc-ignored": true, "hosts-null": true}
	for _, c := range parseCases(t) {
		if !some[c.Name] {
			continue
		}
		delete(some, c.Name)
		out, code := testRun(t, "-", c.Config)
		if (code == 0) != c.Accept || (code == 0) != strings.Contains(out, "test is successful") {
			t.Errorf("%s: exit %d, want success %v:\n%s", c.Name, code, c.Accept, out)
		}
	}
	if len(some) > 0 {
		t.Errorf("no such cases: %v", some)
	}
}

func TestExamplesLoadWithTheseWarnings(t *testing.T) {
	t.Parallel()
	for _, file := range files(t, "../../configs/testdata/examples/*.yaml", 9) {
		name := filepath.Base(file)
		out, code := testRun(t, file, "")
		body, last, _ := strings.Cut(out, "configuration file ")
		if code != 0 || !strings.HasSuffix(last, name+" test is successful\n") {
			t.Errorf("%s: exit %d:\n%s", name, code, out)
		}
		golden(t, "testdata/warnings/"+strings.TrimSuffix(name, ".yaml")+".txt", body)
		if _, code := testRun(t, file, "", "-strict"); (code == 0) != (body == "") {
			t.Errorf("%s: exit %d with -strict, with these warnings:\n%s", name, code, body)
		}
	}
}
