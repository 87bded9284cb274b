package configs

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkLoad loads a document of 5,000 proxies and 5,000 rules, common keys
// and rule lines included.
func BenchmarkLoad(b *testing.B) {
	var text strings.Builder
	text.WriteString("mixed-port: 7890\nproxies:\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "  - {name: node-%d, type: ss, server: s%d.example.com, port: 8388, cipher: aes-128-gcm, password: pw%d, udp: true, plugin: obfs, plugin-opts: {mode: tls, host: a.example}}\n", i, i, i)
	}
	text.WriteString("rules:\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "  - DOMAIN-SUFFIX,site-%d.example,node-%d\n", i, i)
	}
	in := Input{Home: b.TempDir(), Bytes: []byte(text.String())}
	b.ReportAllocs()
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		d, err := Load(in)
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range d.Proxies {
			if _, p := DecodeProxy(n); len(p) > 0 {
				b.Fatal(p)
			}
			n.Hash()
		}
		for _, n := range d.Rules {
			ParseRule(n)
		}
	}
}
