package wire

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/culvert-proxy/culvert/framework/wire/proto/v1"
)

var update = flag.Bool("update", false, "add what is new to the frozen dump")

// dump is each call, field and value of version 1 on a line of its own.
func dump() []string {
	var out []string
	file := pb.File_plugin_proto
	for i := range file.Services().Len() {
		s := file.Services().Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			out = append(out, fmt.Sprintf("call %s(%s) %s stream=%v,%v", m.FullName(), m.Input().FullName(), m.Output().FullName(), m.IsStreamingClient(), m.IsStreamingServer()))
		}
	}
	for i := range file.Enums().Len() {
		e := file.Enums().Get(i)
		for j := range e.Values().Len() {
			v := e.Values().Get(j)
			out = append(out, fmt.Sprintf("value %s = %d", v.FullName(), v.Number()))
		}
	}
	return append(out, fieldsOf(file.Messages())...)
}

func fieldsOf(list protoreflect.MessageDescriptors) (out []string) {
	for i := range list.Len() {
		m := list.Get(i)
		for j := range m.Fields().Len() {
			f := m.Fields().Get(j)
			line := fmt.Sprintf("field %s = %d %s %s", f.FullName(), f.Number(), f.Cardinality(), f.Kind())
			if f.Message() != nil {
				line += " " + string(f.Message().FullName())
			}
			if f.Enum() != nil {
				line += " " + string(f.Enum().FullName())
			}
			out = append(out, line)
		}
		out = append(out, fieldsOf(m.Messages())...)
	}
	return out
}

// constants are the numbers of the sockets.
func constants() []string {
	return []string{
		fmt.Sprintf("header version %d, %d fixed bytes", Version, fixedSize),
		fmt.Sprintf("networks %d %d %d", NetworkTCP, NetworkUDP, NetworkLookup),
		fmt.Sprintf("addresses %d %d %d", typeIPv4, typeName, typeIPv6),
		fmt.Sprintf("options %d %d", optDescriptor, optAddress),
		fmt.Sprintf("statuses %d %d %d %d %d %d %d %d %d %d", OK, Refused, Timeout, Unreachable, Auth, Protocol, Unsupported, Unavailable, Rejected, Other),
		fmt.Sprintf("environment %s=%s %s %s %s %s", CookieKey, CookieValue, EnvData, EnvHost, EnvToken, EnvName),
		"health " + HealthName,
	}
}

// TestVersion1IsFrozen fails when something that a plugin may rely on changes
// its number, type or name, or goes. New lines are added with -update.
func TestVersion1IsFrozen(t *testing.T) {
	t.Parallel()
	const name = "testdata/v1.txt"
	got := append(dump(), constants()...)
	have := map[string]bool{}
	for _, line := range got {
		have[line] = true
	}
	text, err := os.ReadFile(name)
	if err != nil && !*update {
		t.Fatal(err)
	}
	frozen := map[string]bool{}
	for line := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n") {
		frozen[line] = true
		if line != "" && !have[line] {
			t.Errorf("version 1 loses %q: plugins that are out there break; what changes needs a version 2", line)
		}
	}
	var added []string
	for _, line := range got {
		if !frozen[line] {
			added = append(added, line)
		}
	}
	if *update && !t.Failed() {
		all := strings.TrimSpace(string(text)+"\n"+strings.Join(added, "\n")) + "\n"
		if err := os.WriteFile(name, []byte(all), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if len(added) > 0 {
		t.Errorf("new in version 1, freeze it with go test ./framework/wire -update:\n%s", strings.Join(added, "\n"))
	}
}
