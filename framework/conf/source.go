package conf

import "github.com/culvert-proxy/culvert/framework"

// Source is a Node as a framework.Source. It is for one goroutine.
type Source struct {
	n       Node
	m       Mode
	foreign []string
	warns   Problems
}

var _ framework.Source = (*Source)(nil)

// Source gives n to a Descriptor. foreign is the keys of others.
func (n Node) Source(m Mode, foreign ...string) *Source {
	return &Source{n: n, m: m, foreign: foreign}
}

// Decode is Node.Decode; the error is the Problems that are errors, nil when
// there is none.
func (s *Source) Decode(into any) error {
	p := s.n.Decode(into, s.m, s.foreign...)
	s.warns = p.Warnings()
	return p.Err()
}

// Warnings is what the last Decode warned of.
func (s *Source) Warnings() Problems { return s.warns }
