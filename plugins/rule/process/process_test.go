package process

import (
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/ruletest"
)

// facts are of a flow whose program is known, or not.
type facts struct {
	ruletest.Facts
	process framework.Process
	known   bool
}

// Process implements framework.ProcessFacts.
func (f facts) Process() (framework.Process, bool) { return f.process, f.known }

func TestLabelsAreTheAPIs(t *testing.T) {
	t.Parallel()
	ruletest.Labels(t, Descriptors(), map[string]string{
		"PROCESS-NAME": "ProcessName", "PROCESS-PATH": "ProcessPath", "PROCESS-NAME-REGEX": "ProcessNameRegex",
		"PROCESS-PATH-REGEX": "ProcessPathRegex", "PROCESS-NAME-WILDCARD": "ProcessNameWildcard",
		"PROCESS-PATH-WILDCARD": "ProcessPathWildcard", "UID": "Uid",
	})
}

func TestProgramMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ keyword, payload, yes, no string }{
		{"PROCESS-NAME", "Curl", "/usr/bin/curl /opt/CURL", "/usr/bin/curl2 /curl/wget"},
		{"PROCESS-NAME", "chrome.exe", `C:\Programs\Chrome.exe`, `C:\chrome.exe\a.exe`},
		{"PROCESS-PATH", "/usr/bin/Curl", "/usr/bin/curl", "/bin/curl curl"},
		{"PROCESS-NAME-REGEX", "^chrom", "/usr/bin/Chromium", "/chrom/curl"},
		{"PROCESS-PATH-REGEX", "^/opt/.*(?<!d)$", "/opt/a", "/usr/bin/opt /opt/d"},
		{"PROCESS-NAME-WILDCARD", "*Fire?ox*", "/opt/firefox-bin", "/firefox/a"},
		{"PROCESS-PATH-WILDCARD", "/opt/*/bin", "/opt/a/b/bin", "/opt/bin"},
	} {
		r := ruletest.Build(t, ruletest.Descriptor(t, Descriptors(), c.keyword), c.payload)
		for _, path := range strings.Fields(c.yes) {
			if !ruletest.Match(t, r, &framework.Flow{}, facts{process: framework.Process{Path: path}, known: true}) {
				t.Errorf("%s,%s does not hold for %s", c.keyword, c.payload, path)
			}
		}
		for _, path := range strings.Fields(c.no) {
			if ruletest.Match(t, r, &framework.Flow{}, facts{process: framework.Process{Path: path}, known: true}) {
				t.Errorf("%s,%s holds for %s", c.keyword, c.payload, path)
			}
		}
		for _, f := range []framework.Facts{ruletest.Facts{}, facts{}, facts{process: framework.Process{UID: 7}, known: true}} {
			if ruletest.Match(t, r, &framework.Flow{}, f) {
				t.Errorf("%s,%s holds for a program that is not known", c.keyword, c.payload)
			}
		}
	}
}

func TestUserMatches(t *testing.T) {
	t.Parallel()
	d := ruletest.Descriptor(t, Descriptors(), "UID")
	r := ruletest.Build(t, d, "0/1000-2000/70000")
	for uid, want := range map[int64]bool{0: true, 1000: true, 1500: true, 2000: true, 70000: true, 999: false, 2001: false, -1: false} {
		if got := ruletest.Match(t, r, &framework.Flow{}, facts{process: framework.Process{UID: uid}, known: true}); got != want {
			t.Errorf("uid %d: got %v", uid, got)
		}
	}
	if ruletest.Match(t, r, &framework.Flow{}, facts{}) || ruletest.Match(t, r, &framework.Flow{}, ruletest.Facts{}) {
		t.Error("a user that is not known matches")
	}
	ruletest.Refuse(t, d, "", "/", "a", "5-1", "-1", "4294967296", "1-2-3")
}

func TestBadPayloadIsRefused(t *testing.T) {
	t.Parallel()
	for _, d := range Descriptors() {
		ruletest.Refuse(t, d, "")
	}
	for _, keyword := range []string{"PROCESS-NAME-REGEX", "PROCESS-PATH-REGEX"} {
		ruletest.Refuse(t, ruletest.Descriptor(t, Descriptors(), keyword), "(", "[z-a]", " ")
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	f := &facts{process: framework.Process{Path: "/usr/bin/curl", UID: 5}, known: true}
	for keyword, payload := range map[string]string{"PROCESS-NAME": "curl", "PROCESS-PATH": "x", "PROCESS-NAME-REGEX": "^c", "PROCESS-PATH-WILDCARD": "*c", "UID": "5"} {
		ruletest.NoAllocs(t, ruletest.Build(t, ruletest.Descriptor(t, Descriptors(), keyword), payload), &framework.Flow{}, f)
	}
}

func FuzzPayload(f *testing.F) {
	for _, s := range []string{"curl", "/usr/*", "^a(?!b)", "1-2/3", "\xff"} {
		f.Add(s, "/usr/bin/curl")
	}
	f.Fuzz(func(t *testing.T, payload, path string) {
		for _, d := range Descriptors() {
			if r, err := ruletest.Try(t, d, payload); err == nil && len(path) < 300 {
				ruletest.Match(t, r, &framework.Flow{}, facts{process: framework.Process{Path: path, UID: 1}, known: true})
			}
		}
	})
}
