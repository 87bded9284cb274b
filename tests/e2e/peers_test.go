package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-proxy/culvert/tests/harness"
	"github.com/culvert-proxy/culvert/tests/require"
)

// peer is a proxy server that we did not write. It leaves from an address of
// its own, so that the origin sees which peer a flow came through.
type peer struct {
	*harness.Process
	port int
	from string
}

// The user that peers with a password know.
const peerUser, peerPassword = "tester", "correct-horse"

// peerHash is peerPassword as crypt(3) stores it, by openssl passwd -6.
const peerHash = "$6$culvert$YoZPQsrddHSoCF.xfvIGS134QPiI3jnLMkYhO30dYvSxhqen7b7OYOCH2H8UAePCTsp.CVHLL2QsEXNDrtu0q0"

// peerFile writes a file that a peer may read under another user, too.
func peerFile(t testing.TB, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	for d := dir; d != os.TempDir() && len(d) > 1 && strings.HasPrefix(d, os.TempDir()); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// startPeer runs a peer and waits until it listens.
func startPeer(t testing.TB, port int, from string, args ...string) peer {
	t.Helper()
	p := peer{harness.Run(t, args...), port, from}
	p.WaitListen(fmt.Sprintf("127.0.0.1:%d", port))
	return p
}

// microsocks is a SOCKS5 server without UDP.
func microsocks(t testing.TB, from string, password bool) peer {
	t.Helper()
	port := harness.Port(t)
	args := []string{require.Tool(t, "microsocks"), "-i", "127.0.0.1", "-p", fmt.Sprint(port), "-b", from}
	if password {
		args = append(args, "-u", peerUser, "-P", peerPassword)
	}
	return startPeer(t, port, from, args...)
}

// danted is a SOCKS server with UDP. Its users are those of the system: with a
// password it gets user files of its own in a mount namespace of its own.
func danted(t testing.TB, from string, password bool) peer {
	t.Helper()
	port, method := harness.Port(t), "none"
	args := []string{require.Tool(t, "danted")}
	if password {
		require.Root(t)
		method, args = "username", append(asSystemWithUser(t), args...)
	}
	users := ""
	if os.Geteuid() == 0 {
		users = "user.privileged: root\nuser.unprivileged: nobody\n"
	}
	conf := fmt.Sprintf(`
logoutput: stderr
%sinternal: 127.0.0.1 port = %d
external: %s
socksmethod: %s
clientmethod: none
client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
`, users, port, from, method)
	path := peerFile(t, "danted.conf", conf)
	return startPeer(t, port, from, append(args, "-f", path, "-p", path+".pid")...)
}

// asSystemWithUser begins a command that sees the peers' user among those of
// the system; nobody else does.
func asSystemWithUser(t testing.TB) []string {
	t.Helper()
	unshare := require.Tool(t, "unshare")
	require.That(t, exec.Command(unshare, "-m", "true").Run() == nil, "mount namespaces")
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	passwd := peerFile(t, "passwd", string(users)+peerUser+":x:54321:54321::/:/bin/false\n")
	shadow := peerFile(t, "shadow", fmt.Sprintf("%s:%s:19000:0:99999:7:::\n", peerUser, peerHash))
	script := fmt.Sprintf(`mount --bind %s /etc/passwd && mount --bind %s /etc/shadow && exec "$@"`, passwd, shadow)
	return []string{unshare, "-m", "sh", "-c", script, "sh"}
}

// tinyproxy is an HTTP proxy.
func tinyproxy(t testing.TB, from string, password bool) peer {
	t.Helper()
	port := harness.Port(t)
	conf := fmt.Sprintf("Port %d\nListen 127.0.0.1\nBind %s\nTimeout 60\nMaxClients 50\nLogLevel Connect\n", port, from)
	if password {
		conf += fmt.Sprintf("BasicAuth %s %s\n", peerUser, peerPassword)
	}
	return startPeer(t, port, from, require.Tool(t, "tinyproxy"), "-d", "-c", peerFile(t, "tinyproxy.conf", conf))
}

// squid is an HTTP proxy. As root it runs as a user of its own.
func squid(t testing.TB, from string, password bool) peer {
	t.Helper()
	port := harness.Port(t)
	conf := fmt.Sprintf(`
http_port 127.0.0.1:%d
tcp_outgoing_address %s
pid_filename none
cache deny all
cache_mem 1 MB
access_log none
cache_log stdio:/dev/null
cache_store_log none
coredump_dir none
netdb_filename none
pinger_enable off
shutdown_lifetime 1 seconds
max_filedescriptors 1024
visible_hostname squid.test
`, port, from)
	if password {
		helper := peerFile(t, "auth.sh", fmt.Sprintf("while read -r line; do case \"$line\" in %q) echo OK;; *) echo ERR;; esac; done\n",
			peerUser+" "+peerPassword))
		conf += fmt.Sprintf("auth_param basic program /bin/sh %s\nauth_param basic children 1 startup=1\nacl known proxy_auth REQUIRED\nhttp_access allow known\n", helper)
	} else {
		conf += "http_access allow all\n"
	}
	if os.Geteuid() == 0 {
		conf += "cache_effective_user nobody\ncache_effective_group nogroup\n"
	}
	name := fmt.Sprintf("culvert%d", port) // of the instance: its shared memory is called so
	t.Cleanup(func() {
		left, _ := filepath.Glob("/dev/shm/" + name + "-*")
		for _, path := range left {
			os.Remove(path)
		}
	})
	return startPeer(t, port, from, require.Tool(t, "squid"), "-N", "-n", name, "-f", peerFile(t, "squid.conf", conf+"http_access deny all\n"))
}
