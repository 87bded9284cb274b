package inboundtest

import (
	"context"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conf"
)

// Source is the first listener of the document text, as the kernel gives it to
// a Descriptor.
func Source(t testing.TB, text string) *conf.Source {
	t.Helper()
	tree, err := conf.Parse("sample.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return tree.Root().Get("listeners").At(0).Source(conf.Loose, "name", "type")
}

// Sample checks that sample.yaml beside the test names the type and every key
// of d, that it decodes without a warning, and that an instance which was never
// started closes twice.
func Sample(t *testing.T, d framework.Descriptor) {
	t.Helper()
	text, err := os.ReadFile("sample.yaml")
	if err != nil {
		t.Fatal(err)
	}
	src := Source(t, string(text))
	if err := d.Check(src); err != nil || len(src.Warnings()) > 0 {
		t.Errorf("sample.yaml: %v, warnings %v", err, src.Warnings())
	}
	for _, key := range append(conf.Keys(reflect.ValueOf(d.Defaults()).Elem().Interface()), "type: "+d.Type) {
		if !strings.Contains(string(text), "    "+key) {
			t.Errorf("sample.yaml does not have %s", key)
		}
	}
	in, err := framework.Build[framework.Inbound](context.Background(), d, NewHost(), src)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := in.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}
