// Command socks5 is the outbound of the tree as a plugin process: what an
// author changes to go from one to the other is this line. Its type has
// another name, since two types cannot share one.
package main

import (
	"github.com/culvert-proxy/culvert/framework/serve"
	"github.com/culvert-proxy/culvert/plugins/outbound/socks5"
)

func main() {
	d := socks5.Descriptor()
	d.Type = "socks5-process"
	serve.Main(d)
}
