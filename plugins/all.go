// Package plugins is the list of plugin types that are linked in. A type is
// added here and nowhere else.
package plugins

import (
	"slices"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/group/fallback"
	"github.com/culvert-proxy/culvert/plugins/group/loadbalance"
	selectgroup "github.com/culvert-proxy/culvert/plugins/group/select"
	"github.com/culvert-proxy/culvert/plugins/group/urltest"
	httpin "github.com/culvert-proxy/culvert/plugins/inbound/http"
	"github.com/culvert-proxy/culvert/plugins/inbound/mixed"
	"github.com/culvert-proxy/culvert/plugins/inbound/socks"
	"github.com/culvert-proxy/culvert/plugins/outbound/compatible"
	"github.com/culvert-proxy/culvert/plugins/outbound/direct"
	"github.com/culvert-proxy/culvert/plugins/outbound/http"
	"github.com/culvert-proxy/culvert/plugins/outbound/pass"
	"github.com/culvert-proxy/culvert/plugins/outbound/reject"
	"github.com/culvert-proxy/culvert/plugins/outbound/socks5"
	"github.com/culvert-proxy/culvert/plugins/rule/domain"
	"github.com/culvert-proxy/culvert/plugins/rule/dscp"
	"github.com/culvert-proxy/culvert/plugins/rule/geo"
	"github.com/culvert-proxy/culvert/plugins/rule/inbound"
	"github.com/culvert-proxy/culvert/plugins/rule/ip"
	"github.com/culvert-proxy/culvert/plugins/rule/match"
	"github.com/culvert-proxy/culvert/plugins/rule/network"
	"github.com/culvert-proxy/culvert/plugins/rule/port"
	"github.com/culvert-proxy/culvert/plugins/rule/process"
)

// All are the in-tree types, in no order that matters.
func All() []framework.Descriptor {
	return slices.Concat(
		[]framework.Descriptor{
			mixed.Descriptor(), socks.Descriptor(), httpin.Descriptor(),
			direct.Descriptor(), compatible.Descriptor(), socks5.Descriptor(), http.Descriptor(),
			selectgroup.Descriptor(), urltest.Descriptor(), fallback.Descriptor(), loadbalance.Descriptor(),
		},
		reject.Descriptors(), pass.Descriptors(),
		domain.Descriptors(), ip.Descriptors(), port.Descriptors(), network.Descriptors(), inbound.Descriptors(), match.Descriptors(), dscp.Descriptors(), geo.Descriptors(), process.Descriptors(),
	)
}
