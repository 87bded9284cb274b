package conf

import (
	"strings"
	"testing"
)

// reading is a NodeReader that keeps what it read.
type reading struct{ got map[string]string }

func (r *reading) ReadNode(n Node, m Mode, foreign []string) Problems {
	r.got = map[string]string{}
	p := n.Fields(m, []string{"server", "port"}, foreign, func(name string, v Node) {
		r.got[name], _ = v.Text()
	})
	return append(p, n.Find("deep.key[1]", m).Errorf("is wrong"))
}

func TestNodeReaderReadsItsNodeItself(t *testing.T) {
	t.Parallel()
	tree, err := Parse("c.yaml", []byte("name: x\nServer: a.test\nport: 0755\nprot: 1\ndeep:\n  key: [a, b]\n"))
	if err != nil {
		t.Fatal(err)
	}
	var r reading

	p := tree.Root().Decode(&r, Loose, "name", "deep")

	if r.got["server"] != "a.test" || r.got["port"] != "0755" {
		t.Errorf("got %v, want the text as written", r.got)
	}
	if len(p.Errors()) != 1 || p.Errors()[0].String() != "c.yaml:6:12: deep.key[1]: is wrong" {
		t.Errorf("got %v, want the error at its place", p.Errors())
	}
	var w []string
	for _, one := range p.Warnings() {
		w = append(w, one.String())
	}
	if got := strings.Join(w, "\n"); len(w) != 2 || !strings.Contains(got, `write "server"`) || !strings.Contains(got, `did you mean "port"?`) {
		t.Errorf("got %s, want the loose key and the unknown one", got)
	}
}
