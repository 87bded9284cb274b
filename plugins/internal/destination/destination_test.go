package destination

import (
	"errors"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

func TestHostIsPutInOneForm(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"Example.TEST": "example.test", "example.test.": "example.test", "a_b.test": "a_b.test", "xn--bcher-kva.test": "xn--bcher-kva.test",
		"localhost": "localhost", "1a": "1a", "a.1b": "a.1b", "192.0.2.1": "192.0.2.1", "192.0.2.1.": "192.0.2.1", "::1": "::1", "2001:DB8::A": "2001:db8::a",
		"::ffff:192.0.2.1": "192.0.2.1", "fe80::1%eth0": "fe80::1%eth0", "2001:db8::1%eth0": "2001:db8::1", strings.Repeat("a", 63): strings.Repeat("a", 63),
	} {
		if a, err := New(host, 1); err != nil || a.Name() != want || (a.Host != "") == a.IP.IsValid() {
			t.Errorf("%q: got %+v, %v, want %s", host, a, err, want)
		}
	}
	for _, host := range []string{"", ".", "..", ".a", "a..b", "a b", "a/b", "a:b", "a@b", "[::1]", "é", "a\x00", "127.1", "0x7f.1", "1", "0x1", "a.0x", "256.1.1.1", "1.2.3.4.5",
		strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"} {
		if a, err := New(host, 1); !errors.Is(err, framework.ErrProtocol) {
			t.Errorf("%q: got %+v, %v", host, a, err)
		}
	}
}

func TestSplitWantsAPortOrHasOne(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a.test:80": "a.test:80", "a.test": "a.test:8", "a.test:": "a.test:8", "[::1]:80": "[::1]:80", "[::1]": "[::1]:8", "192.0.2.1": "192.0.2.1:8",
		"::1": "", "[a.test]:80": "", "[a.test]": "", "[::1": "", "::1]:80": "", "a.test:0": "", "a.test:65536": "", "a.test:-1": "", "a.test:+1": "", "a.test:http": "", "": "", ":80": "", "a:b:80": "",
	} {
		a, err := Split(text, 8)
		if want == "" && err == nil || want != "" && a.String() != want {
			t.Errorf("%q: got %v, %v, want %q", text, a, err, want)
		}
	}
	for _, text := range []string{"a.test", "a.test:", "[::1]"} {
		if a, err := Split(text, 0); err == nil {
			t.Errorf("%q without a default: got %v", text, a)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"a.test:80", "[::1]:443", "192.0.2.1", "A.b.:1", "fe80::1%x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Split(s, 80)
		if err != nil {
			return
		}
		if again, err := Split(a.String(), 80); err != nil || again != a || a.Port == 0 {
			t.Fatalf("%q gave %+v, which gave %+v, %v", s, a, again, err)
		}
	})
}
