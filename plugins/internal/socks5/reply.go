package socks5

import (
	"fmt"
	"net/netip"

	"github.com/culvert-proxy/culvert/framework"
)

// Reply codes, RFC 1928 §6.
const (
	codeOK          = 0
	codeFailure     = 1
	codeRuleset     = 2
	codeNetwork     = 3
	codeHost        = 4
	codeRefused     = 5
	codeTTL         = 6
	codeCommand     = 7
	codeAddressType = 8
)

// anyIPv4 is 0.0.0.0:0, what a side says that does not know.
var anyIPv4 = framework.Addr{IP: netip.IPv4Unspecified()}

// codeError is the error of a reply that is a refusal.
func codeError(code byte) error {
	class, text := framework.ErrRefused, "general failure"
	switch code {
	case codeRuleset:
		text = "not allowed by ruleset"
	case codeNetwork:
		class, text = framework.ErrUnreachable, "network unreachable"
	case codeHost:
		class, text = framework.ErrUnreachable, "host unreachable"
	case codeRefused:
		text = "connection refused"
	case codeTTL:
		class, text = framework.ErrTimeout, "ttl expired"
	case codeCommand:
		class, text = framework.ErrUnsupported, "command not supported"
	case codeAddressType:
		class, text = framework.ErrUnsupported, "address type not supported"
	}
	return framework.Classed(class, fmt.Errorf("socks server answers %d: %s", code, text))
}

// errorCode is the code that tells a client how its dial ended. A flow that
// policy refused looks open and then ends, so that is no failure.
func errorCode(err error) byte {
	switch framework.Classify(err) {
	case framework.ErrRejected:
		return codeOK
	case framework.ErrRefused:
		return codeRefused
	case framework.ErrTimeout:
		return codeTTL
	case framework.ErrUnreachable:
		return codeHost
	case framework.ErrUnsupported:
		return codeCommand
	}
	if err == nil {
		return codeOK
	}
	return codeFailure
}
