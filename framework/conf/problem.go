package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Severity says whether a problem refuses the document.
type Severity uint8

// The severities.
const (
	Error Severity = iota
	Warning
)

// String is "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Place is where a value comes from: a file with a line and column that count
// from 1 (0 when unknown), or an Origin such as "flag -secret".
type Place struct {
	File   string
	Line   int
	Column int
	Origin string
}

// String is "config.yaml:41:5", or the Origin.
func (p Place) String() string {
	switch {
	case p.Origin != "":
		return p.Origin
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return p.File + ":" + strconv.Itoa(p.Line)
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// Problem is one mistake or doubt about a document. Path is the key path as
// the user would write it, "proxies[3].ws-opts.path". Subject is the same path
// with the name and type of the entry it is in, `proxies[3] "tokyo" (trojan):
// ws-opts.path`. Note says where else to look and may be empty.
type Problem struct {
	Severity Severity
	Place    Place
	Path     string
	Subject  string
	Msg      string
	Note     string
}

// String is the problem on one line, place first.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Place.String())
	if p.Place != (Place{}) {
		b.WriteString(": ")
	}
	if p.Severity == Warning {
		b.WriteString("warning: ")
	}
	if s := cmp.Or(p.Subject, p.Path); s != "" {
		b.WriteString(s)
		b.WriteString(": ")
	}
	b.WriteString(p.Msg)
	if p.Note != "" {
		b.WriteString(" (" + p.Note + ")")
	}
	return b.String()
}

// Error is String: a Problem is an error too.
func (p Problem) Error() string { return p.String() }

// Problems is a list of problems and, as an error, their lines.
type Problems []Problem

// Error is one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the problems to errors.As.
func (p Problems) Unwrap() []error {
	errs := make([]error, len(p))
	for i, one := range p {
		errs[i] = one
	}
	return errs
}

// Errors is the problems that refuse the document.
func (p Problems) Errors() Problems { return p.only(Error) }

// Warnings is the problems that do not.
func (p Problems) Warnings() Problems { return p.only(Warning) }

func (p Problems) only(s Severity) Problems {
	var out Problems
	for _, one := range p {
		if one.Severity == s {
			out = append(out, one)
		}
	}
	return out
}

// Err is the errors among p as an error, nil when there is none.
func (p Problems) Err() error {
	if e := p.Errors(); len(e) > 0 {
		e.Sort()
		return e
	}
	return nil
}

// Sort orders p by place: what stands in the file first, by line and column,
// then what came from variables and flags. Equal places keep their order.
func (p Problems) Sort() {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Place.Origin, b.Place.Origin),
			cmp.Compare(a.Place.File, b.Place.File),
			cmp.Compare(a.Place.Line, b.Place.Line),
			cmp.Compare(a.Place.Column, b.Place.Column),
		)
	})
}

// problem is the Problem at place n.
func (n Node) problem(s Severity, msg string) Problem {
	p := Problem{Severity: s, Place: n.Place(), Path: n.Path(), Subject: n.subject(), Msg: msg}
	if n.v != nil && n.near != n.v && n.v.line > 0 {
		p.Note = fmt.Sprintf("as written at line %d", n.v.line)
	}
	return p
}

// Errorf is an error about n. Its text must not hold a secret.
func (n Node) Errorf(format string, a ...any) Problem {
	return n.problem(Error, fmt.Sprintf(format, a...))
}

// Warnf is a warning about n. Its text must not hold a secret.
func (n Node) Warnf(format string, a ...any) Problem {
	return n.problem(Warning, fmt.Sprintf(format, a...))
}
