package wire

import (
	"slices"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

// forgetful is a rule whose verdicts hold for one flow.
type forgetful struct{}

func (forgetful) Match(*framework.Flow, framework.Facts) (bool, error) { return true, nil }

// BenchmarkRule is the time of a rule's verdict across the wire.
func BenchmarkRule(b *testing.B) {
	for name, keep := range map[string]bool{"asked": false, "cached": true} {
		b.Run(name, func(b *testing.B) {
			d := framework.NewRule("R", "R", func(framework.RuleArgs) (framework.Rule, error) {
				if keep {
					return suffix{".test"}, nil
				}
				return forgetful{}, nil
			})
			remote, stop, err := Pair(d)
			if err != nil {
				b.Fatal(err)
			}
			defer stop()
			r, err := framework.Build[framework.Rule](b.Context(), remote[0], newTestHost(), ruleSource{framework.RuleArgs{Payload: "x"}})
			if err != nil {
				b.Fatal(err)
			}
			f := &framework.Flow{Network: framework.TCP, Destination: framework.Addr{Host: "a.test", Port: 443}}
			var facts framework.Facts = knownFacts{host: "a.test"}
			var took []time.Duration
			b.ReportAllocs()
			for b.Loop() {
				began := time.Now()
				if _, err := r.Match(f, facts); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-us")
		})
	}
}
