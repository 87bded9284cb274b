package configs

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/culvert-proxy/culvert/framework/conf"
)

// Input is where a configuration comes from. Bytes win over Base64, Base64
// over File.
type Input struct {
	Home    string            // home directory; "" is found by Locate
	File    string            // "-" is Stdin; "" is found by Locate
	Stdin   io.Reader         // read to its end when File is "-"
	Base64  string            // the document in standard base64
	Bytes   []byte            // the document, nil is none
	Name    string            // what problems call Bytes
	Environ []string          // NAME=value, as of os.Environ
	Flags   map[string]string // by name without dash: "secret", "ext-ctl", "m"
}

// maxFile bounds what is read into memory; conf.Parse has a limit of its own.
const maxFile = 64 << 20

// Load reads, composes, decodes and checks a configuration. The error is
// conf.Problems: all mistakes, sorted by place. What is doubtful or without
// effect is in the Document's Warnings. With an error the Document is there
// for further checks only, so that all mistakes can be shown at once; it is
// nil when the text could not be parsed. Load is pure but for reading: it
// opens nothing and makes no file.
func Load(in Input) (*Document, error) {
	in = in.Locate()
	name, data, err := in.read()
	if err != nil {
		return nil, conf.Problems{*err}
	}
	tree, problems, failed := compose(in, name, data)
	if failed != nil {
		return nil, asProblems(name, failed)
	}
	d := Default()
	d.Tree, d.Home, d.File, d.SafePaths = tree, in.Home, "", safePaths(in.Environ)
	if in.Bytes == nil && in.Base64 == "" && in.File != "-" {
		d.File = in.File
	}
	if m := in.Flags["m"]; m != "" {
		d.GeodataMode = m != "false"
	}
	if k := tree.Root().Kind(); k != conf.Map && k != conf.Null {
		return nil, conf.Problems{tree.Root().Errorf("want a map of settings, got %s", k)}
	}
	problems = append(problems, tree.Root().Decode(d, conf.Strict)...)
	problems = append(problems, d.finish()...)
	problems = append(problems, d.withoutEffect()...)
	problems.Sort()
	d.Warnings = problems.Warnings()
	return d, problems.Err()
}

// asProblems is err with the place when it has none.
func asProblems(name string, err error) conf.Problems {
	var p conf.Problems
	if errors.As(err, &p) {
		return p
	}
	return conf.Problems{{Place: conf.Place{File: name}, Msg: err.Error()}}
}

// read gets the document and what problems call it.
func (in Input) read() (name string, data []byte, p *conf.Problem) {
	switch {
	case in.Bytes != nil:
		if in.Name == "" {
			in.Name = "payload"
		}
		return in.Name, in.Bytes, nil
	case in.Base64 != "":
		data, err := base64.StdEncoding.DecodeString(in.Base64)
		if err != nil {
			return "", nil, &conf.Problem{Place: conf.Place{Origin: in.base64Origin()}, Msg: "not standard base64"}
		}
		return "base64", data, nil
	case in.File == "-":
		return in.open("stdin", in.Stdin)
	}
	f, err := os.Open(in.File)
	if err != nil {
		return "", nil, &conf.Problem{Place: conf.Place{File: in.File}, Msg: reason(err)}
	}
	defer f.Close()
	return in.open(filepath.Base(in.File), f)
}

func (in Input) base64Origin() string {
	if in.Base64 == lookup(in.Environ, "CLASH_CONFIG_STRING") {
		return "env CLASH_CONFIG_STRING"
	}
	return "flag -config"
}

// open reads r. A document of no bytes is a mistake: one of comments is not.
func (in Input) open(name string, r io.Reader) (string, []byte, *conf.Problem) {
	if r == nil {
		return "", nil, &conf.Problem{Place: conf.Place{File: name}, Msg: "there is no input"}
	}
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return "", nil, &conf.Problem{Place: conf.Place{File: name}, Msg: reason(err)}
	case len(data) == 0:
		return "", nil, &conf.Problem{Place: conf.Place{File: name}, Msg: "document is empty"}
	case len(data) > maxFile:
		return "", nil, &conf.Problem{Place: conf.Place{File: name}, Msg: fmt.Sprintf("document has more than %d bytes", maxFile)}
	}
	return name, data, nil
}

// reason is err without the path, which the problem names already.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Op + ": " + pe.Err.Error()
	}
	return err.Error()
}
