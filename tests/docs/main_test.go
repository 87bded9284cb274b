package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/plugins"
)

func TestEveryTypeIsOnThePage(t *testing.T) {
	t.Parallel()
	var page bytes.Buffer
	if err := render(&page, "../.."); err != nil {
		t.Fatal(err)
	}
	for _, d := range plugins.All() {
		if !strings.Contains(page.String(), "\n- **"+d.Type+"**: "+d.Summary) {
			t.Errorf("%s %s is missing", d.Kind, d.Type)
		}
	}
	if !strings.Contains(page.String(), "| `port` | integer 1–65535 | required | ") {
		t.Error("the table of keys is missing")
	}
}
