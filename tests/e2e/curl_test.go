package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"testing"

	"github.com/culvert-proxy/culvert/tests/harness"
	"github.com/culvert-proxy/culvert/tests/require"
)

// curled is how a run of curl ended.
type curled struct {
	out, err string
	code     int
}

// curlCmd is curl without the user's habits.
func curlCmd(t testing.TB, ctx context.Context, args ...string) *exec.Cmd {
	t.Helper()
	base := []string{"-q", "-sS", "--noproxy", ""}
	cmd := exec.CommandContext(ctx, require.Tool(t, "curl"), append(base, args...)...)
	cmd.Env = harness.Environ()
	return cmd
}

// curl runs curl to its end.
func curl(t testing.TB, args ...string) curled {
	t.Helper()
	return curlWith(t, nil, args...)
}

// curlWith runs curl with an input.
func curlWith(t testing.TB, in io.Reader, args ...string) curled {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := curlCmd(t, ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return curled{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// fetch gets a URL of /echo with curl and returns what the origin saw.
func fetch(t testing.TB, url string, args ...string) seen {
	t.Helper()
	r := curl(t, append(args, url)...)
	var s seen
	if err := json.Unmarshal([]byte(r.out), &s); err != nil || r.code != 0 {
		t.Fatalf("curl %q %s: exit %d, %s, body %q", args, url, r.code, r.err, r.out)
	}
	return s
}

// connection is an entry of /connections.
type connection struct {
	ID       string
	Metadata struct {
		Network, Type, Host                        string
		SourceIP, SourcePort                       string
		DestinationIP, DestinationPort             string
		InboundName, InboundUser, InboundPort      string
		RemoteDestination, SpecialProxy, SniffHost string
	}
	Upload, Download int64
	Chains           []string
	Rule             string
	RulePayload      string

	remote string // whom the origin sees, where holding found the flow
}

// flows are the entries of /connections that lead to port.
func flows(t testing.TB, k *harness.Culvert, port int) []connection {
	t.Helper()
	var all struct{ Connections []connection }
	k.Get(t, "/connections", &all)
	var found []connection
	for _, c := range all.Connections {
		if c.Metadata.DestinationPort == strconv.Itoa(port) {
			found = append(found, c)
		}
	}
	return found
}

// flow waits for the only entry of /connections that leads to port.
func flow(t testing.TB, k *harness.Culvert, port int) (c connection) {
	t.Helper()
	k.Until(fmt.Sprintf("flow to port %d", port), func() error {
		found := flows(t, k, port)
		if len(found) != 1 {
			return fmt.Errorf("%d flows", len(found))
		}
		c = found[0]
		return nil
	})
	return c
}

// noFlow waits until no entry of /connections leads to port.
func noFlow(t testing.TB, k *harness.Culvert, port int) {
	t.Helper()
	k.Until(fmt.Sprintf("flows to port %d go on", port), func() error {
		if n := len(flows(t, k, port)); n > 0 {
			return fmt.Errorf("%d flows", n)
		}
		return nil
	})
}

// holding runs a curl that has an answer of o open until the test ends, and
// returns its flow.
func holding(t testing.TB, k *harness.Culvert, o *origin, host string, args ...string) (*harness.Process, connection) {
	t.Helper()
	cmd := curlCmd(t, context.Background(), append(args, "-N", o.url(host, "/hold"))...)
	p := harness.RunCmd(t, cmd)
	remote := ""
	p.Until("curl has no answer", func() error {
		_, err := fmt.Sscanf(p.Output(), "held for %s\n", &remote)
		return err
	})
	f := flow(t, k, o.port)
	f.remote = remote
	return p, f
}
