package conf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The bounds of a document. Chosen: a rule list of a million lines fits, a
// document that unfolds its aliases into gigabytes does not. With its aliases
// unfolded a document may have freeNodes values, and unfoldNodes more for each
// that is written, so that a small document is never a lot of work.
const (
	maxBytes    = 32 << 20
	maxNodes    = 2 << 20
	maxDepth    = 200
	freeNodes   = 100_000
	unfoldNodes = 20
)

// Parse reads the first document of data; what follows a second --- is not
// looked at. A leading byte order mark and CRLF line ends are fine. An empty
// document is a tree whose root is null. The error is Problems; name is what
// they call the document.
func Parse(name string, data []byte) (*Tree, error) {
	t := &Tree{name: name}
	if len(data) > maxBytes {
		return nil, Problems{{Place: Place{File: name}, Msg: fmt.Sprintf("document has %d bytes, the limit is %d", len(data), maxBytes)}}
	}
	var doc yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		t.root = &value{kind: Null, tag: tagNull, line: 1, column: 1, size: 1}
		return t, nil
	case err != nil:
		return nil, Problems{syntaxProblem(name, data, err)}
	}
	b := builder{t: t, done: map[*yaml.Node]*value{}}
	t.root = b.build(&doc, 0)
	if len(b.problems) > 0 {
		b.problems.Sort()
		return nil, b.problems
	}
	return t, nil
}

var (
	yamlLine = regexp.MustCompile(`^line (\d+): `)
	// What the library's parser says, which counts lines from 0, unlike its scanner.
	yamlParser = regexp.MustCompile(`^(did not find expected (<|node content|',' or|key|'-')|found (undefined tag handle|duplicate %|incompatible YAML))`)
	yamlAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)
)

// syntaxProblem takes the line out of the library's message; of an alias
// without anchor the message has none, so the first use is looked for.
func syntaxProblem(name string, data []byte, err error) Problem {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{Place: Place{File: name}, Msg: msg}
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		p.Place.Line, _ = strconv.Atoi(m[1])
		p.Msg = msg[len(m[0]):]
		if yamlParser.MatchString(p.Msg) {
			p.Place.Line++
		}
	} else if yamlParser.MatchString(msg) {
		p.Place.Line = 1
	} else if m := yamlAnchor.FindStringSubmatch(msg); m != nil {
		if before, _, ok := bytes.Cut(data, []byte("*"+m[1])); ok {
			p.Place.Line = 1 + bytes.Count(before, []byte("\n"))
		}
	}
	return p
}
