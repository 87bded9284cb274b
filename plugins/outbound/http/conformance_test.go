package http

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/conformance"
	"github.com/culvert-proxy/culvert/plugins/internal/outboundtest"
)

// reaching is a proxy that asks for alice's password and opens what it is
// asked for.
func reaching(c net.Conn) {
	r := bufio.NewReader(c)
	req, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	if req.Header.Get("Proxy-Authorization") != "Basic YWxpY2U6c2VjcmV0" {
		io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
		return
	}
	out, err := outboundtest.DialBack(req.Host)
	if err != nil {
		io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	io.WriteString(c, established)
	if n := r.Buffered(); n > 0 {
		io.CopyN(out, r, int64(n))
	}
	outboundtest.Join(c, out)
}

func TestConformance(t *testing.T) {
	const yaml = "{name: a, type: http, server: %HOST%, port: %PORT%, username: alice, password: "
	serve := func(handle func(net.Conn)) func(testing.TB) framework.Addr {
		return func(t testing.TB) framework.Addr { return outboundtest.Serve(t, handle) }
	}
	t.Run("plain", func(t *testing.T) {
		conformance.Outbound(t, Descriptor(), conformance.Case{
			YAML:        yaml + "secret}",
			WrongSecret: yaml + "guess}",
			Server:      serve(reaching),
			Sample:      "sample.yaml",
			NoPackets:   true,
		})
	})
	t.Run("in TLS", func(t *testing.T) {
		leaf := outboundtest.NewCertificate(t, "proxy.test", nil)
		conformance.Outbound(t, Descriptor(), conformance.Case{
			YAML: yaml + "secret, tls: true, skip-cert-verify: true}",
			Server: func(t testing.TB) framework.Addr {
				return outboundtest.ServeTLS(t, leaf.Server(), reaching)
			},
			NoPackets: true,
		})
	})
}
