package top

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// view is what is known, and how it is drawn.
type view struct {
	url, version string
	now          *snapshot
	upRate       float64 // bytes per second; negative when not known
	downRate     float64
	rates        map[string]float64 // by flow id, both ways
	rules        []rule
	hint         string // what keys do
	problem      string
}

// poll fills the view by plain requests.
func (v *view) poll(ctx context.Context, c *client) error {
	s, err := c.connections(ctx)
	if err != nil {
		return err
	}
	rules, err := c.rules(ctx)
	if err != nil {
		return err
	}
	v.apply(update{snapshot: s, rules: rules})
	return nil
}

// minSpan is the shortest time, in seconds, that a rate is taken over: the
// first message comes right after the first poll.
const minSpan = 0.2

// apply takes in an update. Rates are differences to the snapshot before.
func (v *view) apply(u update) {
	v.problem = ""
	if u.err != nil {
		v.problem = u.err.Error()
	}
	if u.rules != nil {
		v.rules = u.rules
	}
	if u.snapshot == nil {
		return
	}
	before := v.now
	v.now, v.upRate, v.downRate, v.rates = u.snapshot, -1, -1, nil
	if before == nil {
		return
	}
	seconds := v.now.at.Sub(before.at).Seconds()
	if seconds < minSpan {
		return
	}
	rate := func(now, then uint64) float64 { return float64(now-min(now, then)) / seconds }
	v.upRate = rate(v.now.UploadTotal, before.UploadTotal)
	v.downRate = rate(v.now.DownloadTotal, before.DownloadTotal)
	last := make(map[string]uint64, len(before.Connections))
	for _, f := range before.Connections {
		last[f.ID] = f.Upload + f.Download
	}
	v.rates = make(map[string]float64, len(v.now.Connections))
	for _, f := range v.now.Connections {
		v.rates[f.ID] = rate(f.Upload+f.Download, last[f.ID])
	}
}

// frame draws the view in at most height lines of at most width columns, each
// ended by a newline.
func (v *view) frame(width, height int) string {
	width, height = max(width, 20), max(height, 4)
	head := v.head()
	rules := v.ruleLines(max((height-len(head))/3, 0))
	flows := v.flowLines(width, height-len(head)-len(rules))
	var b strings.Builder
	for _, line := range slices.Concat(head, flows, rules) {
		b.WriteString(clip(line, width))
		b.WriteByte('\n')
	}
	return b.String()
}

func (v *view) head() []string {
	state := v.hint
	if v.problem != "" {
		state = "reconnecting: " + v.problem
	}
	return []string{
		fmt.Sprintf("culvert %s  %s  %s", v.version, v.url, state),
		fmt.Sprintf("flows %d  up %s  down %s  total up %s  down %s  memory %s", len(v.now.Connections), perSecond(v.upRate), perSecond(v.downRate),
			size(float64(v.now.UploadTotal)), size(float64(v.now.DownloadTotal)), size(float64(v.now.Memory))),
	}
}

// flowLines are the busiest flows under a heading, in at most n lines.
func (v *view) flowLines(width, n int) []string {
	if n < 1 {
		return nil
	}
	flows := slices.Clone(v.now.Connections)
	slices.SortFunc(flows, func(a, b flow) int {
		return cmp.Or(cmp.Compare(v.rates[b.ID], v.rates[a.ID]), cmp.Compare(b.Upload+b.Download, a.Upload+a.Download), cmp.Compare(a.ID, b.ID))
	})
	// Rate, up, down, age and network take 40 columns; the rest is shared.
	room := max(width-40, 10)
	dst := max(room*45/100, 5)
	chain := max(room*30/100, 3)
	row := func(rate, up, down, age, network, to, via, why string) string {
		return fmt.Sprintf("%9s %8s %8s %6s %-3s  %s %s %s", rate, up, down, age, network, pad(to, dst), pad(via, chain), why)
	}
	lines := []string{row("RATE", "UP", "DOWN", "AGE", "NET", "DESTINATION", "CHAIN", "RULE")}
	for _, f := range flows {
		if len(lines) == n {
			break
		}
		rate := -1.0
		if v.rates != nil {
			rate = v.rates[f.ID]
		}
		lines = append(lines, row(perSecond(rate), size(float64(f.Upload)), size(float64(f.Download)), age(v.now.at.Sub(f.Start)), f.Metadata.Network,
			destination(f), strings.Join(f.Chains, " < "), strings.TrimSpace(f.Rule+" "+f.RulePayload)))
	}
	return lines
}

func destination(f flow) string {
	host := cmp.Or(f.Metadata.Host, f.Metadata.DestinationIP, "?")
	return net.JoinHostPort(host, f.Metadata.DestinationPort)
}

// ruleLines are the rules that matched most under a heading, in at most n
// lines; none when no rule matched.
func (v *view) ruleLines(n int) []string {
	hit := slices.DeleteFunc(slices.Clone(v.rules), func(r rule) bool { return r.Extra.HitCount == 0 })
	if len(hit) == 0 || n < 2 {
		return nil
	}
	slices.SortStableFunc(hit, func(a, b rule) int { return cmp.Compare(b.Extra.HitCount, a.Extra.HitCount) })
	lines := []string{fmt.Sprintf("%9s %6s  %s", "HITS", "INDEX", "RULE")}
	for _, r := range hit[:min(len(hit), n-1)] {
		text := strings.Join(slices.DeleteFunc([]string{r.Type, r.Payload, r.Proxy}, func(s string) bool { return s == "" }), ",")
		if r.Extra.Disabled {
			text += " (disabled)"
		}
		lines = append(lines, fmt.Sprintf("%9d %6d  %s", r.Extra.HitCount, r.Index, text))
	}
	return lines
}

// size is a number of bytes for people: at most 7 characters.
func size(n float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB", "TiB"} {
		if n < 1000 {
			if unit == "B" || n >= 100 {
				return fmt.Sprintf("%.0f%s", n, unit)
			}
			return fmt.Sprintf("%.1f%s", n, unit)
		}
		n /= 1024
	}
	return fmt.Sprintf("%.0fPiB", n)
}

// perSecond is a rate, "-" when it is not known.
func perSecond(n float64) string {
	if n < 0 {
		return "-"
	}
	return size(n) + "/s"
}

// age is a duration in one unit.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
