package ranges

import (
	"strings"
	"testing"
)

func TestSetHoldsWhatIsWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text    string
		in, out []uint16
	}{
		{"80", []uint16{80}, []uint16{79, 81}},
		{"80-90/443", []uint16{80, 85, 90, 443}, []uint16{79, 91, 442}},
		{"80-90,443", []uint16{80, 443}, []uint16{91}},
		{" 80 - 90 / [443] ", []uint16{80, 90, 443}, []uint16{0}},
		{"7-7", []uint16{7}, []uint16{6, 8}},
		{"0-65535", []uint16{0, 65535}, nil},
		{"1//2", []uint16{1, 2}, []uint16{3}},
	} {
		set, err := Parse(c.text, 65535)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
		}
		for _, n := range c.in {
			if !set.Has(n) {
				t.Errorf("%q does not hold %d", c.text, n)
			}
		}
		for _, n := range c.out {
			if set.Has(n) {
				t.Errorf("%q holds %d", c.text, n)
			}
		}
	}
}

func TestWhatHoldsNothingIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", " ", "/", "*", "http", "80a", "-80", "80-", "-", "1-2-3", "+80", "-1", "90-80", "65536", "70000",
		"1-70000", "99999999999999999999999", "[]", strings.Repeat("1/", 28) + "1",
	} {
		if set, err := Parse(text, 65535); err == nil {
			t.Errorf("%q: got %v, want an error", text, set)
		}
	}
	if _, err := Parse("64", 63); err == nil || err.Error() != "64 is more than 63" {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"80", "80-90/443", "1,2", "[1]", "90-80", "*", "65536", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := Parse(s, 65535)
		if err != nil {
			return
		}
		if len(set) == 0 {
			t.Fatalf("%q: an empty set without an error", s)
		}
		for _, one := range set {
			if one.low > one.high {
				t.Fatalf("%q: %v", s, one)
			}
		}
	})
}
