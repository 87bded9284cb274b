// Package control is the controller over a running kernel: it shows the
// kernel's state as the REST API's values, hands it the API's orders, and
// follows the controller's part of the configuration. It decides nothing that
// the kernel or package rest could.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/culvert-proxy/culvert/api"
	"github.com/culvert-proxy/culvert/api/rest"
	"github.com/culvert-proxy/culvert/configs"
	"github.com/culvert-proxy/culvert/framework/kernel"
	"github.com/culvert-proxy/culvert/framework/stats"
	"github.com/culvert-proxy/culvert/registry"
)

// Config is what a Controller is made from.
type Config struct {
	Kernel  *kernel.Kernel
	Logs    *stats.LogStream
	Log     *slog.Logger
	Input   configs.Input // how the process was started: what a reload reads again
	Version string
	Plugins *registry.Registry
}

// Controller serves the API and carries out reloads. Its methods are safe for
// concurrent use.
type Controller struct {
	Config
	mu      sync.Mutex // guards server, serving
	server  *api.Server
	serving api.Config
}

// New makes a Controller that listens nowhere.
func New(c Config) *Controller { return &Controller{Config: c} }

// Serve makes the listeners those of doc. Listeners whose settings did not
// change stay as they are. A listener that cannot be made is logged.
func (c *Controller) Serve(ctx context.Context, doc *configs.Document) {
	next := c.settings(doc)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil && same(next, c.serving) {
		return
	}
	if c.server != nil {
		c.server.Close()
	}
	server, err := api.New(next, c.deps(), c.Log)
	if err != nil {
		c.Log.Error("controller is off", "err", err)
		return
	}
	c.server, c.serving = server, next
	if err := server.Start(ctx); err != nil {
		c.Log.Error("controller listener is not open", "err", err)
	}
}

// Addresses are where the controller listens.
func (c *Controller) Addresses() []api.Address {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server == nil {
		return nil
	}
	return c.server.Addrs()
}

// Close ends the listeners. It may be called twice.
func (c *Controller) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		c.server.Close()
	}
}

func (c *Controller) settings(doc *configs.Document) api.Config {
	next := api.Config{
		Listen: doc.ExternalController, ListenTLS: doc.ExternalControllerTLS, Unix: doc.ExternalControllerUnix,
		Certificate: doc.TLS.Certificate, PrivateKey: string(doc.TLS.PrivateKey),
		Metrics: doc.Metrics.Listen, Secret: doc.Secret, Home: c.Kernel.Home, SafePaths: doc.SafePaths,
		CORS:    rest.CORS{AllowOrigins: doc.CORS.AllowOrigins, AllowPrivateNetwork: doc.CORS.AllowPrivateNetwork},
		Version: c.Version, Debug: strings.EqualFold(doc.LogLevel, "debug"),
	}
	if doc.ExternalUI != "" && doc.Inside(doc.ExternalUI) {
		next.UI = doc.ExternalUI
	}
	return next
}

func same(a, b api.Config) bool {
	return fmt.Sprintf("%#v%s", a, string(a.Secret)) == fmt.Sprintf("%#v%s", b, string(b.Secret))
}

func (c *Controller) deps() rest.Kernel {
	k := rest.Kernel{Stats: c.Kernel.Stats, Logs: c.Logs, Configs: c, Applier: c, Proxies: c, Selector: c, Rules: c, Delays: c, Explainer: c}
	if c.Plugins != nil {
		k.Plugins = plugins{c.Plugins}
	}
	if c.Kernel.Store != nil {
		k.Storage = c.Kernel.Store
	}
	return k
}

// Load reads the document that the process was started with.
func (c *Controller) Load() (*configs.Document, error) { return configs.Load(c.Input) }

// Reload puts a document in force, as rest.Applier.
func (c *Controller) Reload(ctx context.Context, r rest.ReloadRequest) error {
	in := c.Input
	switch {
	case r.Payload != "":
		in.Base64, in.Bytes, in.Name = "", []byte(r.Payload), "payload"
	case r.Path != "":
		if _, err := os.Stat(r.Path); err != nil {
			return err
		}
		in.Base64, in.Bytes, in.File = "", nil, r.Path
	}
	doc, err := configs.Load(in)
	if err != nil {
		err = problems(c.Kernel, doc, err).Err()
	} else {
		err = c.Kernel.Apply(ctx, doc, kernel.Options{KeepPorts: !r.Force})
	}
	if err != nil {
		c.Log.Error("configuration refused, the one in force stays", "err", err)
		return err
	}
	c.Log.Info("configuration applied", "warnings", len(c.Kernel.State().Warnings))
	return nil
}

// Hangup is what SIGHUP asks for: the file again, with its ports and the
// controller's own settings.
func (c *Controller) Hangup(ctx context.Context) {
	if c.Reload(ctx, rest.ReloadRequest{Force: true}) == nil {
		c.Serve(ctx, c.Kernel.State().Document)
	}
}

// selectError translates the kernel's errors into those of rest.
func selectError(err error) error {
	switch {
	case errors.Is(err, kernel.ErrNotFound):
		return rest.ErrNotFound
	case errors.Is(err, kernel.ErrNotSelector):
		return rest.ErrNotSelector
	}
	return err
}
