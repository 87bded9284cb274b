// Command acme is the plugin as an executable.
package main

import (
	"acme.example/acme"

	"github.com/culvert-proxy/culvert/framework/serve"
)

func main() { serve.Main(acme.Descriptor(), acme.Rule(), acme.Fetcher()) }
