package configs

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/framework"
)

// load is Load of a text, with an environment and flags.
func load(t *testing.T, text string, in Input) (*Document, error) {
	t.Helper()
	in.Bytes, in.Name = []byte(text), "config.yaml"
	if in.Home == "" {
		in.Home = t.TempDir()
	}
	return Load(in)
}

func mustLoad(t *testing.T, text string, in Input) *Document {
	t.Helper()
	d, err := load(t, text, in)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLaterLayersWin(t *testing.T) {
	t.Parallel()
	in := Input{
		Environ: []string{"CULVERT_MIXED_PORT=7891", "CULVERT_SECRET=env", "CULVERT_DNS__ENABLE=true", "CULVERT_AUTHENTICATION=[a:b, c:d]", "CLASH_OVERRIDE_EXTERNAL_CONTROLLER=:1", "CLASH_OVERRIDE_SECRET=clash", "PATH=x", "BROKEN"},
		Flags:   map[string]string{"secret": "flag", "ext-ui": "ui", "f": "ignored", "ext-ctl-unix": ""},
	}

	d := mustLoad(t, "mixed-port: 1\nsocks-port: 2\nsecret: file\nexternal-controller: :9\ndns: {listen: ':53'}\n", in)

	if d.MixedPort != 7891 || d.SocksPort != 2 || string(d.Secret) != "flag" || d.ExternalController != ":1" || d.ExternalUI != "ui" {
		t.Errorf("got %d %d %q %q %q", d.MixedPort, d.SocksPort, string(d.Secret), d.ExternalController, d.ExternalUI)
	}
	if !d.DNS.Enable || d.DNS.Listen != ":53" || !slices.Equal(d.Authentication, []string{"a:b", "c:d"}) {
		t.Errorf("got dns %v %q, authentication %v", d.DNS.Enable, d.DNS.Listen, d.Authentication)
	}
	if got, want := d.Tree.Root().Get("secret").Place().String(), "flag -secret"; got != want {
		t.Errorf("origin: got %q, want %q", got, want)
	}
	if got, want := d.Warnings.Error(), "env CULVERT_DNS__ENABLE: warning: dns.enable: known, but not built yet: has no effect"; got != want {
		t.Errorf("warnings: got %q, want %q", got, want)
	}
}

func TestBadVariablesAreNamed(t *testing.T) {
	t.Parallel()
	d, err := load(t, "mode: scirpt\n", Input{Environ: []string{
		"CULVERT_MIXED_PORT=many", "CULVERT_MIXD_PORT=1", "CULVERT_DNS__ENABEL=1", "CULVERT_TUN__STACK=lwip",
		"CULVERT_DNS=yes", "CULVERT_DNS__ENABLE=true", "CULVERT_LAN_ALLOWED_IPS=10.0.0.0/8,x",
	}})

	got := ""
	if err != nil {
		got = err.Error()
	}
	for _, want := range []string{
		`config.yaml:1:7: mode: must be rule, global or direct, got "scirpt"`,
		`env CULVERT_LAN_ALLOWED_IPS: lan-allowed-ips[1]: want an IP address`,
		`env CULVERT_MIXED_PORT: mixed-port: want a whole number, got "many"`,
		`env CULVERT_TUN__STACK: tun.stack: must be gvisor, system or mixed, got "lwip"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("error lacks %s; got\n%s", want, got)
		}
	}
	warned := d.Warnings.Error()
	for _, want := range []string{
		"env CULVERT_DNS__ENABEL: warning: sets no known key; did you mean CULVERT_DNS__ENABLE?",
		"env CULVERT_MIXD_PORT: warning: sets no known key; did you mean CULVERT_MIXED_PORT?",
	} {
		if !strings.Contains(warned, want) {
			t.Errorf("warnings lack %s; got\n%s", want, warned)
		}
	}
}

func TestSecretsOfVariablesStayHidden(t *testing.T) {
	t.Parallel()
	_, err := load(t, "", Input{Environ: []string{"CULVERT_TLS=hunter2", "CULVERT_SECRET=hunter2", "CULVERT_AUTHENTICATION={a: hunter2}"}})

	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestSourcesOfTheDocument(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	file := filepath.Join(home, "config.yaml")
	if err := os.WriteFile(file, []byte("port: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte("port: 2\n"))
	for name, c := range map[string]struct {
		in   Input
		port int
		err  string
	}{
		"home":                      {Input{Home: home}, 1, ""},
		"home of the environment":   {Input{Environ: []string{"CLASH_HOME_DIR=" + home}}, 1, ""},
		"file of the environment":   {Input{Home: "/", Environ: []string{"CLASH_CONFIG_FILE=" + file}}, 1, ""},
		"base64":                    {Input{Home: home, File: file, Base64: encoded}, 2, ""},
		"base64 of the environment": {Input{Home: home, Environ: []string{"CLASH_CONFIG_STRING=" + encoded}}, 2, ""},
		"a file beats a variable":   {Input{Home: home, File: file, Environ: []string{"CLASH_CONFIG_STRING=" + encoded}}, 1, ""},
		"stdin":                     {Input{Home: home, File: "-", Stdin: strings.NewReader("port: 3\n")}, 3, ""},
		"empty stdin":               {Input{Home: home, File: "-", Stdin: strings.NewReader("")}, 0, "stdin: document is empty"},
		"no stdin":                  {Input{Home: home, File: "-"}, 0, "stdin: there is no input"},
		"bad base64":                {Input{Home: home, Base64: "%"}, 0, "flag -config: not standard base64"},
		"bad base64 of a variable":  {Input{Home: home, Environ: []string{"CLASH_CONFIG_STRING=%"}}, 0, "env CLASH_CONFIG_STRING: not standard base64"},
		"missing file":              {Input{Home: home, File: filepath.Join(home, "no")}, 0, filepath.Join(home, "no") + ": open: no such file or directory"},
		"directory":                 {Input{Home: home, File: home}, 0, filepath.Base(home) + ": read: is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := Load(c.in)
			if err != nil || c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			if d.Port != c.port {
				t.Errorf("got port %d, want %d", d.Port, c.port)
			}
		})
	}
}

func TestHomeIsFound(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	old := filepath.Join(root, "xdg", "mihomo")
	environ := []string{"HOME=" + root, "XDG_CONFIG_HOME=" + filepath.Join(root, "xdg")}

	fresh := Input{Environ: environ}.Locate().Home
	if err := os.MkdirAll(old, 0o700); err != nil {
		t.Fatal(err)
	}
	used := Input{Environ: environ}.Locate().Home

	if want := filepath.Join(root, ".config", "culvert"); fresh != want || used != old {
		t.Errorf("got %s and %s, want %s and %s", fresh, used, want, old)
	}
}

func TestPrepareMakesAFirstFileOnce(t *testing.T) {
	t.Parallel()
	in := Input{Home: filepath.Join(t.TempDir(), "a", "b")}.Locate()

	if err := Prepare(in); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in.File, []byte("port: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Prepare(in); err != nil {
		t.Fatal(err)
	}

	if d, err := Load(in); err != nil || d.Port != 5 {
		t.Errorf("got %v", err)
	}
	in.File = filepath.Join(in.Home, "no", "config.yaml")
	if err := Prepare(in); err == nil {
		t.Error("a file in a missing directory is made")
	}
}

func TestPathsOutsideHomeAreTold(t *testing.T) {
	t.Parallel()
	home, other := t.TempDir(), t.TempDir()
	d := mustLoad(t, "", Input{Home: home, Environ: []string{"SAFE_PATHS=" + other}})

	for path, want := range map[string]bool{
		"ui": true, "./a/../b": true, "../x": false, home: true, home + "x": false, other + "/ui": true, "/etc": false, "..x": true,
	} {
		if got := d.Inside(path); got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

func TestEmptyDocumentIsTheDefaults(t *testing.T) {
	t.Parallel()
	d := mustLoad(t, "# nothing\n", Input{})

	if len(d.Warnings) > 0 || d.Mode != "rule" || !d.IPv6 || !d.Profile.StoreSelected || d.BindAddress != "*" || len(d.LanAllowedIPs) != 2 {
		t.Errorf("got %+v, warnings %v", d.General, d.Warnings)
	}
	if d.DNS.EnhancedMode != "redir-host" || len(d.DNS.DefaultNameserver) != 4 || !d.Tun.AutoRoute || !d.Sniffer.OverrideDestination {
		t.Errorf("got %+v", d.DNS)
	}
	if d := mustLoad(t, "", Input{Flags: map[string]string{"m": "true"}}); !d.GeodataMode {
		t.Error("flag -m is not the default of geodata-mode")
	}
	if d := mustLoad(t, "geodata-mode: false\n", Input{Flags: map[string]string{"m": "true"}}); d.GeodataMode {
		t.Error("flag -m beats the file")
	}
}

func TestUserListReplacesDefaultList(t *testing.T) {
	t.Parallel()
	d := mustLoad(t, "lan-allowed-ips:\nexternal-controller-cors: {allow-origins: [a]}\ndns: {fake-ip-filter: [x.com], nameserver: [1.1.1.1, 1.1.1.1, 8.8.8.8]}\nauthentication: [a:b, ~]\n", Input{})

	if len(d.LanAllowedIPs) != 0 || !slices.Equal(d.CORS.AllowOrigins, []string{"a"}) || !slices.Equal(d.DNS.FakeIPFilter, []string{"x.com"}) {
		t.Errorf("got %v %v %v", d.LanAllowedIPs, d.CORS.AllowOrigins, d.DNS.FakeIPFilter)
	}
	if len(d.DNS.Nameserver) != 2 || len(d.Authentication) != 1 {
		t.Errorf("got %v %v", d.DNS.Nameserver, d.Authentication)
	}
}

func TestSchemaTellsEntriesApartByType(t *testing.T) {
	t.Parallel()
	text := Schema(map[framework.Kind]map[string][]byte{
		framework.KindOutbound: {"socks5": []byte(`{"$schema":"x","type":"object","properties":{"server":{"type":"string"}}}`), "bad": []byte("no")},
	})

	var got struct {
		Properties map[string]struct {
			Description string
			Default     any
			Enum        []any
			Items       struct {
				Properties map[string]any
				Required   []string
				AllOf      []struct {
					Then map[string]string
				}
			}
		}
		Defs map[string]map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	proxies := got.Properties["proxies"].Items
	if len(proxies.AllOf) != 1 || proxies.AllOf[0].Then["$ref"] != "#/$defs/outbound-socks5" || !slices.Equal(proxies.Required, []string{"name", "type"}) {
		t.Errorf("got %+v", proxies)
	}
	if got.Defs["outbound-socks5"] == nil || got.Defs["outbound-socks5"]["$schema"] != nil {
		t.Errorf("got %v", got.Defs)
	}
	if mode := got.Properties["mode"]; mode.Default != "rule" || len(mode.Enum) != 4 {
		t.Errorf("got mode %+v", mode)
	}
	for key, p := range got.Properties {
		if p.Description == "" {
			t.Errorf("%s has no description", key)
		}
	}
}

func TestNotBuiltKeysExist(t *testing.T) {
	t.Parallel()
	l := layers{defaults: mapOfDefaults()}
	for _, row := range notBuilt {
		if !l.known(strings.ReplaceAll(row.path, ".", delimiter)) {
			t.Errorf("%s is no key", row.path)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, text := range []string{
		"hosts: {a.com: [b.com], b.com: a.com}\n", "dns: {nameserver-policy: {'a,b': [1.1.1.1]}, enhanced-mode: fake-ip, fake-ip-filter-mode: rule, fake-ip-filter: [MATCH]}\n",
		"sniffer: {sniff: {tls: {ports: [1-2]}}, sniffing: [x]}\n", "tunnels: ['tcp,:1,a:2', {network: [x]}]\n", "rules: [MATCH, ~, [a]]\nlisteners: [{port: '1-9'}]\nproxies: [x]\nproxy-groups: [{}]\n",
		"tun: {inet6-address: x}\nexternal-ui: ../..\nauthentication: [x]\n",
	} {
		f.Add(text, "DNS__ENABLE", "true")
	}
	f.Add("", "DNS", "{enable: yes}")
	f.Fuzz(func(t *testing.T, text, name, value string) {
		in := Input{Home: "/nowhere", Bytes: []byte(text), Environ: []string{"CULVERT_DNS=[", "CULVERT_" + name + "=" + value}}
		_ = all(in).Error()
	})
}
