package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework/conf"
	"github.com/culvert-proxy/culvert/framework/kernel"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/registry"
)

// queryFlags are the keys of a query that a flag sets.
var queryFlags = map[string]string{
	"network": "tcp or udp", "source": "address, or address:port, of the client", "ip": "what the host resolves to",
	"process": "path or name of the program", "inbound": "name of the listener", "type": "type of the listener, as in Socks5",
	"user": "user of the listener", "inbound-port": "port of the listener", "dscp": "mark of the packets",
}

// explainCommand is `culvert explain`: it asks a running kernel.
func explainCommand(args []string, out io.Writer) error {
	fs := flag.NewFlagSet("culvert explain", flag.ContinueOnError)
	base := fs.String("url", "http://127.0.0.1:9090", "`address` of the controller")
	secret := fs.String("secret", os.Getenv("CULVERT_SECRET"), "secret of the controller")
	asJSON := fs.Bool("json", false, "print the answer as it came")
	for key, doc := range queryFlags {
		fs.String(key, "", doc)
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() < 1 || fs.NArg() > 2 {
		return errors.New("usage: culvert explain [flags] HOST [PORT]")
	}
	values := url.Values{"host": {fs.Arg(0)}}
	if fs.NArg() == 2 {
		values.Set("port", fs.Arg(1))
	}
	fs.Visit(func(f *flag.Flag) {
		if queryFlags[f.Name] != "" {
			values.Set(f.Name, f.Value.String())
		}
	})
	body, err := ask(*base, *secret, values)
	if err != nil {
		return err
	}
	if *asJSON {
		_, err := out.Write(body)
		return err
	}
	var e rest.Explanation
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("answer of the controller: %w", err)
	}
	printExplanation(out, e)
	return nil
}

// ask gets an explanation; chosen: a name may take 5 s to resolve.
func ask(base, secret string, values url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/rules/explain?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil || resp.StatusCode == http.StatusOK {
		return body, err
	}
	var said struct{ Message string }
	json.Unmarshal(body, &said)
	return nil, fmt.Errorf("controller: %s", cmp.Or(said.Message, resp.Status))
}

// printExplanation writes one line for each step and one for the result.
func printExplanation(out io.Writer, e rest.Explanation) {
	for _, s := range e.Steps {
		fmt.Fprintf(out, "%s%-9s %s\n", strings.Repeat("  ", s.Depth), s.Outcome, stepText(s))
	}
	switch {
	case e.Error != "":
		fmt.Fprintf(out, "%s: %s\n", cmp.Or(e.Proxy, "no exit"), e.Error)
	case e.Rule >= 0:
		fmt.Fprintf(out, "%s by rule %d, exit %s\n", e.Proxy, e.Rule, way(e.Chains))
	default:
		fmt.Fprintf(out, "%s by no rule (mode %s), exit %s\n", e.Proxy, e.Mode, way(e.Chains))
	}
}

func stepText(s rest.ExplainStep) string {
	list := cmp.Or(s.List, "rules")
	text := fmt.Sprintf("%s[%d]", list, s.Index)
	switch s.Outcome {
	case "skipped":
		if s.Last > s.Index {
			text = fmt.Sprintf("%s[%d–%d]", list, s.Index, s.Last)
		}
		if s.Disabled > 0 {
			text += fmt.Sprintf(", %d disabled", s.Disabled)
		}
	case "ended":
		return list
	default:
		text += fmt.Sprintf(" %s,%s,%s", s.Type, s.Payload, s.Proxy)
	}
	for _, more := range [][2]string{{"", s.Entry}, {"address ", s.IP}, {"→ ", way(s.Chains)}, {"error: ", s.Error}} {
		if more[1] != "" {
			text += "  " + more[0] + more[1]
		}
	}
	return fmt.Sprintf("%s  (%s)", text, time.Duration(s.TookNS))
}

// way is a chain from the outermost group to the exit.
func way(chains []string) string {
	way := slices.Clone(chains)
	slices.Reverse(way)
	return strings.Join(way, " → ")
}

// testCommand is `culvert test`: it compares what people expect with what the
// rules of a configuration say, offline.
func testCommand(catalog *registry.Registry, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("culvert test", flag.ContinueOnError)
	input := configs.DefineFlags(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() != 1 {
		return errors.New("usage: culvert test [-d DIRECTORY] [-f CONFIGURATION] FILE")
	}
	in, err := input(os.Environ(), os.Stdin)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(fs.Arg(0))
	if err != nil {
		return err
	}
	return Rehearse(in, catalog, fs.Arg(0), data, out)
}

// Rehearse prints each expectation of a file that the configuration does not
// meet, and fails when there is one. The file, whose name only shows in
// errors, is a list of queries, as ParseExplainQuery reads them, each with
// `expect`: the target, or a name on the way from it to the exit. No name is
// resolved: `ip` says what a host resolves to.
func Rehearse(in configs.Input, catalog kernel.Catalog, name string, data []byte, out io.Writer) error {
	list, err := expectations(name, data)
	if err != nil {
		return err
	}
	doc, err := configs.Load(in)
	if err != nil {
		return err
	}
	k := kernel.New(kernel.Config{Home: in.Home, Catalog: catalog, Stats: stats.New(),
		Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar)})
	defer k.Close(context.Background())
	if err := k.Rehearse(context.Background(), doc); err != nil {
		return err
	}
	failed := 0
	for _, x := range list {
		e := explain(context.Background(), k, x.query)
		if e.Proxy == x.expect || slices.Contains(e.Chains, x.expect) {
			continue
		}
		failed++
		fmt.Fprintf(out, "%s: %s: expected %s, got:\n", x.place, x.query.Flow.Destination, x.expect)
		printExplanation(out, e)
	}
	fmt.Fprintf(out, "%d of %d expectations met\n", len(list)-failed, len(list))
	if failed > 0 {
		return fmt.Errorf("%d of %d expectations are not met", failed, len(list))
	}
	return nil
}

// expectation is one entry of the file.
type expectation struct {
	place  string
	query  rest.ExplainQuery
	expect string
}

func expectations(name string, data []byte) ([]expectation, error) {
	tree, err := conf.Parse(name, data)
	if err != nil {
		return nil, err
	}
	root := tree.Root()
	if root.Kind() != conf.List {
		return nil, fmt.Errorf("%s: want a list of expectations, as in - {host: a.example, port: 443, expect: Proxy}", name)
	}
	var list []expectation
	var problems conf.Problems
	for _, n := range root.Items() {
		x, err := readExpectation(n)
		if err != nil {
			problems = append(problems, n.Errorf("%v", err))
			continue
		}
		list = append(list, x)
	}
	return list, problems.Err()
}

func readExpectation(n conf.Node) (x expectation, err error) {
	values := url.Values{}
	for _, e := range n.Entries() {
		text, ok := e.Value.Text()
		switch {
		case !ok:
			return x, fmt.Errorf("%s: want a single value", e.Key)
		case e.Key == "expect":
			x.expect = text
		case e.Key == "host" || e.Key == "port" || queryFlags[e.Key] != "":
			values.Set(e.Key, text)
		default:
			return x, fmt.Errorf("key %q is unknown", e.Key)
		}
	}
	if x.expect == "" {
		return x, errors.New("expect is missing")
	}
	place := n.Place()
	x.place = place.File + ":" + strconv.Itoa(place.Line)
	x.query, err = rest.ParseExplainQuery(values)
	return x, err
}
