package ruleset

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// What can be wrong with an entry of a domain list.
var (
	errEmptyEntry = errors.New("entry is empty")
	errSlash      = errors.New("a name has no slash")
	errControl    = errors.New("a name has no control characters")
	errSpace      = errors.New("a name neither begins nor ends with a space")
	errLabel      = errors.New("a label is empty")
	errPlus       = errors.New("+ is a whole first label only, with a name behind it")
	errLongName   = errors.New("name is longer than 253 bytes")
)

// maxName is the length of the longest name (RFC 1035 §2.3.4, as text).
const maxName = 253

// name is an entry of a domain list: a name in ASCII, in any letter case, and
// what of it is meant.
type name struct {
	text  []byte
	flags byte // exact, below
}

// prefixOf is what stands before a name in an entry.
func prefixOf(flags byte) string { return [...]string{"", "", ".", "+."}[flags] }

// parseName reads an entry. The text is a part of it, or a copy.
func parseName(entry []byte) (name, error) {
	n := name{entry, exact}
	if rest, ok := bytes.CutPrefix(entry, []byte("+.")); ok {
		n = name{rest, exact | below}
	} else if rest, ok := bytes.CutPrefix(entry, []byte(".")); ok {
		n = name{rest, below}
	}
	other, err := checkName(n.text)
	if err == nil && other {
		var ascii string
		ascii, err = idna.Punycode.ToASCII(strings.ToLower(string(n.text)))
		n.text = []byte(ascii)
	}
	if err == nil && len(n.text) > maxName {
		err = errLongName
	}
	return n, err
}

// checkName says what is wrong with the part of an entry behind "+." and ".";
// other is true when it has letters beyond ASCII.
func checkName(name []byte) (other bool, err error) {
	if len(name) == 0 {
		return false, errEmptyEntry
	}
	if name[0] == ' ' || name[len(name)-1] == ' ' {
		return false, errSpace
	}
	last := byte('.')
	for i, c := range name {
		switch {
		case c-'a' < 26 || c-'0' < 10: // nearly all
		case c == '.' && last == '.':
			return false, errLabel
		case c == '/':
			return false, errSlash
		case c < ' ' || c == 0x7f:
			return false, errControl
		case c == '+' && last == '.' && (i+1 == len(name) || name[i+1] == '.'):
			return false, errPlus
		case c >= 0x80:
			other = true
		}
		last = c
	}
	if last == '.' {
		return false, errLabel
	}
	return other, nil
}

// names is entries that are kept as text, for writing them in another form.
type names struct {
	arena
	count int // of entries
}

// add takes one entry.
func (l *names) add(entry []byte) error {
	n, err := parseName(entry)
	if err == nil {
		l.put(n.text, n.flags-1)
		l.count++
	}
	return err
}

// each calls f with each entry in the order of reversed names; what the list
// has twice comes once.
func (l *names) each(f func(text []byte, flags byte)) {
	var last []byte
	var flags byte
	give := func() {
		if flags != 0 {
			slices.Reverse(last)
			f(last, flags)
		}
	}
	for _, p := range l.sorted() {
		text := l.at(p)
		n := 0
		for text[n] >= marks {
			n++
		}
		if flags != 0 && bytes.Equal(last, text[:n]) {
			flags |= text[n] + 1
			continue
		}
		give()
		last, flags = append(last[:0], text[:n]...), text[n]+1
	}
	give()
}
