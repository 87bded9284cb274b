package urltest

import (
	"slices"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/plugins/internal/standing"
)

const (
	// untested is the delay of a member without a result, as in mihomo's
	// adapter/adapter.go.
	untested = 65535
	// looked is how many of the last good results are looked at. Chosen: with
	// five, two bad ones do not move the median.
	looked = 5
	// noise is how many times the two members' mean deviation their medians
	// must differ by, beyond the tolerance. Chosen: see the simulation.
	noise = 2
	// lossWeight is what failed tests cost: half of the tests failed doubles a
	// delay. Chosen.
	lossWeight = 2
)

// candidate is a member that works, weighed. Delays are in milliseconds.
type candidate struct {
	name   string
	last   float64 // of the last test
	score  float64 // the median of the last good ones, more after failures
	spread float64 // the mean deviation from it
	steady bool
}

func (c candidate) valid() bool { return c.name != "" }

// orBetter is the better one; of equals the first.
func (c candidate) orBetter(other candidate) candidate {
	if !c.valid() || other.score < c.score {
		return other
	}
	return c
}

// slower says whether a member in use is to be left for other: by its last
// result alone, as the facts have it, and by what the results before it say
// too, so that one odd result moves nothing.
func (c candidate) slower(other candidate, tolerance float64) bool {
	return c.last > other.last+tolerance && c.score > other.score+tolerance+noise*(c.spread+other.spread)
}

func weigh(name string, h framework.Health) candidate {
	c := candidate{name: name, last: untested, score: untested, steady: standing.Steady(h)}
	var buf [looked]float64
	good := buf[:0]
	failed := 0
	for _, t := range slices.Backward(h.Tests) {
		ms := float64(t.Delay.Milliseconds())
		switch {
		case ms == 0:
			failed++
		case len(good) < looked:
			good = append(good, ms)
		}
	}
	if len(good) == 0 {
		return c
	}
	c.last = good[0]
	slices.Sort(good)
	c.score = good[len(good)/2]
	if len(good)%2 == 0 {
		c.score = (c.score + good[len(good)/2-1]) / 2
	}
	for _, ms := range good {
		c.spread += max(ms-c.score, c.score-ms) / float64(len(good))
	}
	c.score *= 1 + lossWeight*float64(failed)/float64(len(h.Tests))
	return c
}
