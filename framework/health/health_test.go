package health

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-proxy/culvert/framework"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestUntestedNodeIsAlive(t *testing.T) {
	t.Parallel()
	var n Node
	if h := n.Health("u"); !n.Alive() || !h.Alive || len(h.Tests)+len(n.Tests())+len(n.URLs()) > 0 {
		t.Errorf("got %v, %+v", n.Alive(), h)
	}
}

func TestLastTenResultsAreKept(t *testing.T) {
	t.Parallel()
	var n Node
	start := time.Unix(1000, 0)
	for i := range 25 {
		url := []string{"a", "b"}[i%2]
		n.record(url, start.Add(time.Duration(i)*time.Second), time.Duration(i+1)*time.Millisecond, true)
	}
	check := func(what string, got []framework.Tested, first, step int) {
		t.Helper()
		if len(got) != 10 {
			t.Fatalf("%s: %d results, want 10", what, len(got))
		}
		for i, r := range got {
			if want := time.Duration(first+i*step) * time.Millisecond; r.Delay != want {
				t.Errorf("%s: result %d: got %v, want %v", what, i, r.Delay, want)
			}
		}
	}
	check("any", n.Tests(), 16, 1)
	check("a", n.Health("a").Tests, 7, 2)
	check("b", n.Health("b").Tests, 6, 2)
}

func TestAliveIsPerURL(t *testing.T) {
	t.Parallel()
	at := time.Unix(1, 0)
	var n Node
	n.record("a", at, 0, false)
	if n.Alive() || n.Health("a").Alive || n.Health("other").Alive {
		t.Error("a failed test leaves the node alive")
	}
	n.record("b", at, 5*time.Millisecond, true)
	if !n.Alive() || n.Health("a").Alive || !n.Health("b").Alive || !n.Health("other").Alive {
		t.Error("a good test with b is not for b and overall")
	}
	n.record("b", at, 5*time.Millisecond, false) // an answer with the wrong status
	last := n.Health("b").Tests[1]
	if all := n.Tests(); !n.Alive() || n.Health("b").Alive || last.Delay != 0 || all[2].Delay != 5*time.Millisecond {
		t.Errorf("wrong status: alive %v, for b %v, delay for b %v", n.Alive(), n.Health("b").Alive, last.Delay)
	}
}

func TestURLsAreBounded(t *testing.T) {
	t.Parallel()
	var n Node
	for i := range 40 {
		n.record("kept", time.Unix(int64(i), 0), time.Millisecond, true)
		n.record(fmt.Sprint(i), time.Unix(int64(i), 0), time.Millisecond, true)
	}
	urls := n.URLs()
	if _, ok := urls["kept"]; len(urls) != maxURLs || !ok {
		t.Errorf("%d URLs, the one in use there: %v", len(urls), ok)
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct{ yes, no []int }{
		"":                 {[]int{200, 404, 599}, nil},
		"*":                {[]int{200, 404}, nil},
		"204":              {[]int{204}, []int{200, 203, 205}},
		"200/302/400-503":  {[]int{200, 302, 400, 450, 503}, []int{201, 399, 504}},
		"200, 302":         {[]int{200, 302}, []int{301}},
		" 299 - 200 /500 ": {[]int{200, 250, 299, 500}, []int{300}},
	} {
		s, err := ParseStatuses(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		for _, status := range want.yes {
			if !s.has(status) {
				t.Errorf("%q does not have %d", text, status)
			}
		}
		for _, status := range want.no {
			if s.has(status) {
				t.Errorf("%q has %d", text, status)
			}
		}
	}
	for _, text := range []string{"/", "x", "200-", "-200", "70000", "200-300-400", strings.Repeat("200/", 29)} {
		if s, err := ParseStatuses(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, s)
		}
	}
}

func FuzzParseStatuses(f *testing.F) {
	for _, s := range []string{"", "*", "200/204-299,500", "-", "1-2-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStatuses(text)
		for _, r := range s {
			if err != nil || r[0] > r[1] {
				t.Errorf("%q: %v, %v", text, s, err)
			}
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"", "http://a", "https://[::1]:8443/x?y#z", "HTTP://A.test.", "ftp://a", "http://a:99999", "http://u:p@a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		to, err := parseTarget(text)
		if err != nil {
			return
		}
		if !to.addr.IsValid() || strings.ContainsAny(to.path+to.host, " \r\n") {
			t.Errorf("%q: %+v", text, to)
		}
	})
}
