package kernel_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// siteList is a GeoSite.dat with one list, "near", that has near.test: a list
// at field 1, with its name at 1 and entries of type and value at 2.
const siteList = "\x0a\x17\x0a\x04near\x12\x0f\x08\x02\x12\x0bnear.invalid"

func TestRuleWithoutItsDataIsAWarningAndNeverHolds(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	for rule, want := range map[string]string{
		"GEOSITE,near,DIRECT": "geosite.dat", "GEOIP,cn,DIRECT": "geoip.metadb", "IP-ASN,1,DIRECT": "asn.mmdb", "AND,((GEOSITE,near),(NETWORK,tcp)),DIRECT": "geosite.dat",
	} {
		problems := h.Check(h.load(t, "mode: rule\nrules:\n  - '"+rule+"'\n"))

		if text := problems.Error(); len(problems.Errors()) > 0 || !strings.Contains(text, "config.yaml:3:5: warning") || !strings.Contains(text, want) {
			t.Errorf("%s: got %q", rule, text)
		}
	}
}

func TestRuleHoldsOnceItsDataIsThereAndTheDocumentIsLoadedAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	text := "rules: ['GEOSITE,near,REJECT', 'MATCH,DIRECT']\n"
	h.apply(t, text)
	if size := h.Snapshot().Rules.Main().Rules()[0].Size(); size != -1 {
		t.Errorf("size %d of a rule without data, want -1", size)
	}
	if err := os.WriteFile(filepath.Join(h.Home, "GeoSite.dat"), []byte(siteList), 0o600); err != nil {
		t.Fatal(err)
	}

	h.apply(t, text)

	if size := h.Snapshot().Rules.Main().Rules()[0].Size(); size != 1 {
		t.Errorf("size %d with the data, want 1", size)
	}
}

func TestRulesKnowTheSizeOfTheirDataAndWarn(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	if err := os.WriteFile(filepath.Join(h.Home, "GeoSite.dat"), []byte(siteList), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "rules:\n  - GEOSITE,near,DIRECT\n  - OR,((GEOSITE,near@none),(DOMAIN-REGEX,^(?!a))),DIRECT\n  - MATCH,DIRECT\n"

	h.apply(t, text)

	rules := h.Snapshot().Rules.Main().Rules()
	if rules[0].Size() != 1 || rules[1].Size() != -1 || rules[2].Size() != -1 {
		t.Errorf("sizes %d %d %d, want 1 -1 -1", rules[0].Size(), rules[1].Size(), rules[2].Size())
	}
	warned := 0
	for _, p := range h.Check(h.load(t, text)) {
		if p.Place.Line == 3 {
			warned++
		}
	}
	if warned != 2 {
		t.Errorf("%d warnings at line 3, want one for each condition", warned)
	}
}
