package configs

import (
	"net"
	"strings"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// Tunnel is a port that leads to one target.
type Tunnel struct {
	Networks []string  `yaml:"network" doc:"tcp, udp or both"`
	Address  string    `yaml:"address" doc:"host:port to listen at"`
	Target   string    `yaml:"target" doc:"host:port to go to"`
	Proxy    string    `yaml:"proxy" doc:"outbound or group, empty goes by the rules"`
	Node     conf.Node `yaml:"-"`
}

// parseTunnels reads the list of tunnels.
func parseTunnels(list []conf.Node) ([]Tunnel, conf.Problems) {
	var out []Tunnel
	var problems conf.Problems
	for _, n := range list {
		t, p := parseTunnel(n)
		problems = append(problems, p...)
		if len(p.Errors()) == 0 {
			out = append(out, t)
		}
	}
	return out, problems
}

// parseTunnel reads one tunnel. Of the map form only the shape is checked, as
// mihomo does: the rest shows when the port is opened.
func parseTunnel(n conf.Node) (Tunnel, conf.Problems) {
	t := Tunnel{Node: n}
	text, ok := n.Text()
	if !ok {
		if n.Kind() != conf.Map {
			return t, conf.Problems{n.Errorf("want network,address,target[,proxy] or a map, got %s", n.Kind())}
		}
		return t, n.Decode(&t, conf.Strict)
	}
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	if len(parts) != 3 && len(parts) != 4 {
		return t, conf.Problems{n.Errorf("want network,address,target[,proxy], got %d parts", len(parts))}
	}
	t.Networks, t.Address, t.Target = strings.Split(parts[0], "/"), parts[1], parts[2]
	if len(parts) == 4 {
		t.Proxy = parts[3]
	}
	return t, checkTunnel(n, t)
}

func checkTunnel(n conf.Node, t Tunnel) conf.Problems {
	var out conf.Problems
	for _, network := range t.Networks {
		if network != "tcp" && network != "udp" {
			out = append(out, n.Errorf("unknown network %q: must be tcp or udp", network))
		}
	}
	for _, address := range []string{t.Address, t.Target} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			out = append(out, n.Errorf("%q is not host:port", address))
		}
	}
	return out
}
