package configs

import (
	"os"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// kernelCases need the plugin types or the names of outbounds: the kernel's
// tests run the same file and decide them.
var kernelCases = map[string]string{
	"tunnels-line-proxy-missing": "whether an outbound exists",
	"listener-bad-type":          "whether a type exists",
	"listener-type-ss-alias":     "whether a type exists",
	"listener-users-map":         "keys of the listener's type",
	"listener-vmess-no-users":    "keys of the listener's type",
	"listener-hy2-no-cert":       "keys of the listener's type",
	"listener-tunnel-no-network": "keys of the listener's type",
	"listener-tun-bad-stack":     "keys of the listener's type",
}

type parseCase struct {
	Name   string `yaml:"name"`
	Accept bool   `yaml:"accept"`
	Config string `yaml:"config"`
}

func readCases(t *testing.T) []parseCase {
	t.Helper()
	text, err := os.ReadFile("testdata/cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := conf.Parse("cases.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []parseCase `yaml:"cases"`
	}
	if p := tree.Root().Decode(&file, conf.Strict); len(p) > 0 {
		t.Fatal(p)
	}
	return file.Cases
}

// verdict loads a document and the common keys of its entries, and returns
// what refuses it.
func verdict(text string, home string) error {
	d, err := Load(Input{Home: home, File: "-", Stdin: strings.NewReader(text)})
	if err != nil {
		return err
	}
	var problems conf.Problems
	for _, n := range d.Listeners {
		_, p := DecodeListener(n)
		problems = append(problems, p...)
	}
	return problems.Err()
}

func TestEveryLoaderDecision(t *testing.T) {
	t.Parallel()
	cases := readCases(t)
	if len(cases) < 120 {
		t.Fatalf("%d cases: the file is cut", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			err := verdict(c.Config, t.TempDir())
			why, kernel := kernelCases[c.Name]
			switch {
			case kernel && err != nil:
				t.Errorf("left to the kernel (%s), and refused here: %v", why, err)
			case !kernel && (err == nil) != c.Accept:
				t.Errorf("accept: got %v, want %v; %v", err == nil, c.Accept, err)
			}
		})
	}
}
