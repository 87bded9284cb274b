package configs

import (
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
)

// DefineFlags adds the flags that say where a configuration comes from to fs.
// The function that it returns makes the Input of them after parsing; it reads
// stdin to its end when the file is "-", so that a reload has the same bytes.
func DefineFlags(fs *flag.FlagSet) func(environ []string, stdin io.Reader) (Input, error) {
	home := fs.String("d", "", "home `directory`")
	file := fs.String("f", "", "configuration `file`, - is standard input")
	text := fs.String("config", "", "configuration as `base64`")
	geodata := fs.Bool("m", false, "geodata-mode: use .dat files")
	values := map[string]*string{}
	for name, key := range flagKeys {
		values[name] = fs.String(name, "", "wins over "+key+" of the configuration")
	}
	return func(environ []string, stdin io.Reader) (Input, error) {
		in := Input{Home: *home, File: *file, Base64: *text, Environ: environ, Flags: map[string]string{}}
		fs.Visit(func(f *flag.Flag) {
			if v := values[f.Name]; v != nil {
				in.Flags[f.Name] = *v
			}
		})
		if *geodata {
			in.Flags["m"] = "true"
		}
		if in.Base64 != "" {
			if _, err := base64.StdEncoding.DecodeString(in.Base64); err != nil {
				return in, errors.New("flag -config: not standard base64")
			}
		}
		in = in.Locate()
		if in.File != "-" || in.Base64 != "" {
			return in, nil
		}
		data, err := io.ReadAll(io.LimitReader(stdin, maxFile+1))
		if err != nil {
			return in, fmt.Errorf("standard input: %w", err)
		}
		if len(data) == 0 {
			return in, errors.New("standard input is empty")
		}
		in.Stdin, in.Bytes, in.Name = nil, data, "stdin"
		return in, nil
	}
}
