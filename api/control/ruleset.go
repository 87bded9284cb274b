package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/culvert-proxy/culvert/framework/ruleset"
)

// convert is `culvert convert-ruleset BEHAVIOR FORMAT IN OUT`: yaml and text
// become mrs, mrs becomes text.
func convert(args []string, out io.Writer) error {
	if len(args) != 4 {
		return errors.New("usage: culvert convert-ruleset domain|ipcidr yaml|text|mrs IN OUT")
	}
	in, err := os.Open(args[2])
	if err != nil {
		return err
	}
	defer in.Close()
	made := args[3] + ".part" // OUT is whole or not there
	f, err := os.Create(made)
	if err != nil {
		return err
	}
	defer os.Remove(made)
	defer f.Close()
	w := bufio.NewWriter(f)
	count, bad, err := ruleset.Convert(args[0], args[1], bufio.NewReader(in), w)
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		return err
	}
	for _, e := range bad.First {
		fmt.Fprintf(out, "%s:%d: %q left out: %v\n", args[2], e.Line, e.Text, e.Err)
	}
	fmt.Fprintf(out, "%d entries, %d left out\n", count, bad.Count)
	return os.Rename(made, args[3])
}
