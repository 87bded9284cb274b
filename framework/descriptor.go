package framework

import (
	"context"
	"fmt"
)

// Source is an instance's configuration, still undecoded. Decode fills into,
// which holds its defaults, and runs its Validate when it has one; all errors
// are returned at once and carry the line, FieldErrors included.
type Source interface{ Decode(into any) error }

// Validator is a configuration that checks itself. Validate is pure.
type Validator interface{ Validate() error }

// Stability is how far a plugin type may be trusted to stay as it is.
type Stability string

// The stabilities.
const (
	Experimental Stability = "experimental"
	Beta         Stability = "beta"
	Stable       Stability = "stable"
	Deprecated   Stability = "deprecated"
)

// Cap is a named power, offered or required.
type Cap string

// The capabilities that the kernel knows.
const (
	CapPacket   Cap = "packet"    // outbound: carries packets
	CapDirect   Cap = "direct"    // outbound: destinations are dialled from here, names resolved as direct ones
	CapPass     Cap = "pass"      // outbound: as a target, matching goes on; a sub-rule is left
	CapPassRule Cap = "pass-rule" // outbound: as a target, matching goes on with the next rule, in a sub-rule too
	CapReject   Cap = "reject"    // outbound: refuses by policy; packets to it are dropped without asking it
	CapTested   Cap = "tested"    // group: picks by health, so its members are tested
	CapNeedIP   Cap = "need-ip"   // rule: needs the destination's address, unless no-resolve or src is given
)

// Descriptor is one plugin type: in this binary or in another process.
type Descriptor struct {
	Kind      Kind
	Type      string    // the value of `type:` in YAML, e.g. "trojan"; for rules the keyword, "DOMAIN"
	Label     string    // how the REST API spells it, e.g. "Trojan"
	Aliases   []string  // other spellings of Type
	Summary   string    // one line, shown by `culvert plugin list`
	Stability Stability // experimental unless said
	Caps      []Cap     // what it offers
	Requires  []Cap     // what the kernel must offer it
	Schema    []byte    // JSON Schema; when empty, conf derives it from Defaults

	defaults func() any
	check    func(Source) error
	build    func(context.Context, Host, Source) (any, error)
}

// Option sets an optional part of a Descriptor.
type Option func(*Descriptor)

// WithLabel sets how the REST API spells the type; without it, Type.
func WithLabel(s string) Option { return func(d *Descriptor) { d.Label = s } }

// WithAliases adds other spellings of the type.
func WithAliases(s ...string) Option { return func(d *Descriptor) { d.Aliases = s } }

// WithSummary sets the line that lists show.
func WithSummary(s string) Option { return func(d *Descriptor) { d.Summary = s } }

// WithStability sets the stability.
func WithStability(s Stability) Option { return func(d *Descriptor) { d.Stability = s } }

// WithCaps adds capabilities that the type offers.
func WithCaps(c ...Cap) Option { return func(d *Descriptor) { d.Caps = append(d.Caps, c...) } }

// Defaults returns a pointer to a fresh default configuration.
func (d Descriptor) Defaults() any { return d.defaults() }

// Check decodes and validates src, builds nothing, and returns all mistakes.
func (d Descriptor) Check(src Source) error { return d.check(src) }

// Has says whether the type offers c.
func (d Descriptor) Has(c Cap) bool {
	for _, have := range d.Caps {
		if have == c {
			return true
		}
	}
	return false
}

// Build makes an instance; T is the interface of d's Kind.
func Build[T any](ctx context.Context, d Descriptor, h Host, src Source) (T, error) {
	var none T
	v, err := d.build(ctx, h, src)
	if err != nil {
		return none, err
	}
	t, ok := v.(T)
	if !ok {
		return none, fmt.Errorf("%s %q does not build a %T", d.Kind, d.Type, &none)
	}
	return t, nil
}

// Builder makes an instance of T from a decoded and valid configuration C. It
// allocates; it uses no network and leaves no goroutine behind after Close.
type Builder[C, T any] func(context.Context, Host, C) (T, error)

// NewOutbound describes an outbound whose configuration decodes into C over
// the values that defaults returns; C may have a Validate.
func NewOutbound[C any](typ string, defaults func() C, build Builder[C, Outbound], opts ...Option) Descriptor {
	return describe(KindOutbound, typ, defaults, build, opts)
}

// NewInbound describes an inbound.
func NewInbound[C any](typ string, defaults func() C, build Builder[C, Inbound], opts ...Option) Descriptor {
	return describe(KindInbound, typ, defaults, build, opts)
}

// NewGroup describes a group. Its members are the kernel's; C is its policy.
func NewGroup[C any](typ string, defaults func() C, build Builder[C, Group], opts ...Option) Descriptor {
	return describe(KindGroup, typ, defaults, build, opts)
}

// NewFetcher describes a fetcher.
func NewFetcher[C any](typ string, defaults func() C, build Builder[C, Fetcher], opts ...Option) Descriptor {
	return describe(KindFetcher, typ, defaults, build, opts)
}

// NewTransport describes a transport.
func NewTransport[C any](typ string, defaults func() C, build Builder[C, Transport], opts ...Option) Descriptor {
	return describe(KindTransport, typ, defaults, build, opts)
}

// NewRule describes a rule type: keyword is its spelling in a rule line, label
// the REST API's. New returns what is wrong with the payload.
func NewRule(keyword, label string, build func(RuleArgs) (Rule, error), opts ...Option) Descriptor {
	return NewRuleWith(keyword, label, func(_ Host, a RuleArgs) (Rule, error) { return build(a) }, opts...)
}

// NewRuleWith is NewRule for a rule that asks its Host for data. The Host is
// nil where only the payload is to be checked.
func NewRuleWith(keyword, label string, build func(Host, RuleArgs) (Rule, error), opts ...Option) Descriptor {
	d := describe(KindRule, keyword, func() RuleArgs { return RuleArgs{} },
		func(_ context.Context, h Host, a RuleArgs) (Rule, error) { return build(h, a) },
		append([]Option{WithLabel(label)}, opts...))
	d.check = func(src Source) error {
		var a RuleArgs
		if err := src.Decode(&a); err != nil {
			return err
		}
		_, err := build(nil, a)
		return err
	}
	return d
}

// With returns a Descriptor that builds with h where it is given no Host.
func (d Descriptor) With(h Host) Descriptor {
	build := d.build
	d.build = func(ctx context.Context, own Host, src Source) (any, error) {
		if own == nil {
			own = h
		}
		return build(ctx, own, src)
	}
	return d
}

func describe[C, T any](k Kind, typ string, defaults func() C, build Builder[C, T], opts []Option) Descriptor {
	decode := func(src Source) (C, error) {
		c := defaults()
		if err := src.Decode(&c); err != nil {
			return c, err
		}
		return c, nil
	}
	d := Descriptor{Kind: k, Type: typ, Label: typ, Stability: Experimental,
		defaults: func() any { c := defaults(); return &c },
		check:    func(src Source) error { _, err := decode(src); return err },
		build: func(ctx context.Context, h Host, src Source) (any, error) {
			c, err := decode(src)
			if err != nil {
				return nil, err
			}
			return build(ctx, h, c)
		},
	}
	for _, o := range opts {
		o(&d)
	}
	return d
}
