package control

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/culvert-proxy/culvert/api"
	"github.com/culvert-proxy/culvert/framework/stats"
)

// Console is where log lines go: short ones on a terminal, and lines that
// machines read elsewhere.
func Console(out *os.File) slog.Handler {
	terminal := isTerminal(out)
	opt := &slog.HandlerOptions{Level: slog.LevelDebug - 4, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch {
		case a.Key == slog.TimeKey && terminal:
			return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05"))
		case a.Key == slog.LevelKey && a.Value.Any() == stats.LevelFlow:
			return slog.Any(slog.LevelKey, slog.LevelInfo) // as dashboards show it
		}
		return a
	}}
	return slog.NewTextHandler(out, opt)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Greet says what runs: one line for each problem of the document, then where
// it listens and what it loaded.
func (c *Controller) Greet(out io.Writer) {
	st := c.Kernel.State()
	for _, p := range st.Warnings {
		fmt.Fprintln(out, p)
	}
	var at []string
	for name, typ := range map[string]string{"DEFAULT-HTTP": "http", "DEFAULT-SOCKS": "socks", "DEFAULT-MIXED": "mixed"} {
		if port := st.BoundPort(name); port != 0 {
			at = append(at, fmt.Sprintf("%s %s:%d", typ, st.General.ListenHost(), port))
		}
	}
	if n := len(st.Document.Listeners); n > 0 {
		at = append(at, fmt.Sprintf("%d listeners", n))
	}
	for _, a := range c.Addresses() {
		at = append(at, spell(a))
	}
	if len(at) == 0 {
		at = []string{"nowhere: the configuration opens no port"}
	}
	fmt.Fprintf(out, "culvert %s listens on %s\n", c.Version, strings.Join(at, ", "))
	fmt.Fprintf(out, "%d proxies, %d groups, %d rules, mode %s\n",
		len(st.Document.Proxies), len(st.Document.ProxyGroups), len(st.Document.Rules), strings.ToLower(st.General.Mode))
}

func spell(a api.Address) string {
	switch a.Key {
	case api.KeyTLS:
		return "controller https://" + a.Addr.String()
	case api.KeyUnix:
		return "controller " + a.Addr.String()
	case api.KeyMetrics:
		return "metrics http://" + a.Addr.String() + "/metrics"
	}
	return "controller http://" + a.Addr.String()
}
