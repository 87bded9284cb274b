package ruleset

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// smallYAML bounds the lists that are given to the YAML parser when they are
// not a plain block list, in bytes: parsing takes fifty times the memory and
// time of reading lines.
const smallYAML = 1 << 20

// What makes a line no plain item.
var (
	errNotPlain  = errors.New("not a plain item of a list")
	errNotString = errors.New("not a text")
)

// readYAML gives the items of the list `payload:` or `rules:`.
//
// Lists are nearly always a block list of scalars, one a line: those are read
// line by line, of any size, each line on its own, so that one bad line costs
// one entry. A small list that has any other shape, a flow list or anchors or
// JSON, is read again by the YAML parser; where that finds nothing but a syntax
// error, the lines stand. In a large list a line of another shape is a bad
// entry.
func readYAML(r io.Reader, entry func(line int, text []byte, err error)) error {
	head, err := io.ReadAll(io.LimitReader(r, smallYAML+1))
	if err != nil {
		return err
	}
	if len(head) > smallYAML {
		_, err := readLines(io.MultiReader(bytes.NewReader(head), r), entry)
		return err
	}
	plain, err := readLines(bytes.NewReader(head), func(int, []byte, error) {})
	if err != nil {
		return err
	}
	if !plain && parseYAML(head, entry) {
		return nil
	}
	_, err = readLines(bytes.NewReader(head), entry)
	return err
}

// parseYAML gives the items of a document that is a map with a list.
func parseYAML(data []byte, entry func(line int, text []byte, err error)) bool {
	tree, err := conf.Parse("rule set", data)
	if err != nil {
		return false
	}
	list := tree.Root().Get("payload")
	if !list.Exists() {
		list = tree.Root().Get("rules")
	}
	for _, item := range list.Items() {
		text, _ := item.Text()
		var err error
		if !item.IsString() {
			err = errNotString
		}
		entry(item.Place().Line, []byte(text), err)
	}
	return true
}

// readLines gives the items of a block list. plain is false when a line had
// another shape; those inside the list come as bad entries.
func readLines(r io.Reader, entry func(line int, text []byte, err error)) (plain bool, err error) {
	plain, inside := true, false
	level := 0 // how far the key is indented
	err = eachLine(r, func(number int, line []byte, problem error) bool {
		text := bytes.TrimLeft(line, " \t")
		indent := len(line) - len(text)
		if text = bytes.TrimRight(text, " \t"); len(text) == 0 || text[0] == '#' {
			return true
		}
		if !inside {
			rest, ok := listKey(text)
			inside, level = ok, indent
			plain = plain && (!ok || rest) && text[0] != '{'
			return true
		}
		if text[0] != '-' && indent <= level {
			return false // the next key
		}
		item, err := scalar(text)
		if problem != nil {
			err = problem
		}
		if err == errNotPlain {
			plain = false
		}
		entry(number, item, err)
		return true
	})
	return plain && inside, err
}

// listKey says whether a line opens the list, and whether the list stands
// below it.
func listKey(line []byte) (below, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("payload:"))
	if !ok {
		if rest, ok = bytes.CutPrefix(line, []byte("rules:")); !ok {
			return false, false
		}
	}
	rest = bytes.TrimSpace(rest)
	return len(rest) == 0 || rest[0] == '#', true
}

// scalar is the text of "- item". Only what one line tells is read: plain and
// quoted scalars without escapes.
func scalar(line []byte) ([]byte, error) {
	item, ok := bytes.CutPrefix(line, []byte("-"))
	if !ok || len(item) > 0 && item[0] != ' ' && item[0] != '\t' {
		return line, errNotPlain
	}
	item = bytes.TrimLeft(item, " \t")
	if len(item) == 0 || item[0] == '#' {
		return item, errNotString
	}
	switch item[0] {
	case '\'', '"':
		return quoted(item)
	case '[', ']', '{', '}', '&', '*', '!', '|', '>', '%', '@', '`', ',':
		return item, errNotPlain
	}
	if i := bytes.Index(item, []byte(" #")); i >= 0 {
		item = bytes.TrimRight(item[:i], " \t")
	}
	if item[0] == '-' && (len(item) == 1 || item[1] == ' ') || item[len(item)-1] == ':' || bytes.Contains(item, []byte(": ")) {
		return item, errNotPlain
	}
	if !isText(item) {
		return item, errNotString
	}
	return item, nil
}

// quoted is a scalar in quotes that holds neither these nor an escape.
func quoted(item []byte) ([]byte, error) {
	end := bytes.IndexByte(item[1:], item[0])
	if end < 0 {
		return item, errNotPlain
	}
	text, rest := item[1:1+end], bytes.TrimLeft(item[2+end:], " \t")
	if len(rest) > 0 && rest[0] != '#' || item[0] == '"' && bytes.IndexByte(text, '\\') >= 0 {
		return item, errNotPlain
	}
	return text, nil
}

// isText says whether YAML takes a plain scalar for a string: not for a
// number, a boolean or null.
func isText(item []byte) bool {
	switch c := item[0]; {
	case c-'0' < 10, c == '+', c == '-', c == '.':
		return !isNumber(item)
	case len(item) > 5:
		return true
	}
	switch strings.ToLower(string(item)) {
	case "~", "null", "true", "false":
		return false
	}
	return true
}

func isNumber(item []byte) bool {
	if len(item) > 40 || bytes.Count(item, []byte(".")) > 1 {
		return false
	}
	text := strings.ReplaceAll(string(item), "_", "")
	if _, err := strconv.ParseInt(text, 0, 64); err == nil {
		return true
	}
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}
