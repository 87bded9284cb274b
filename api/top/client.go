package top

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/culvert-proxy/culvert/framework"
)

// errSecret is an answer 401.
var errSecret = errors.New("the controller does not take this secret")

// snapshot is a message of /connections.
type snapshot struct {
	DownloadTotal, UploadTotal, Memory uint64
	Connections                        []flow

	at time.Time
}

// flow is one connection.
type flow struct {
	ID       string
	Metadata struct {
		Network, Type, SourceIP, DestinationIP, DestinationPort, Host string
	}
	Upload, Download  uint64
	Start             time.Time
	Chains            []string
	Rule, RulePayload string
}

// rule is one row of /rules.
type rule struct {
	Index                int
	Type, Payload, Proxy string
	Extra                struct {
		Disabled bool
		HitCount uint64
	}
}

// client asks the controller.
type client struct {
	base   *url.URL
	secret string
	http   *http.Client
}

func newClient(base string, secret framework.Secret) (*client, error) {
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is no URL of a controller, such as http://127.0.0.1:9090", base)
	}
	return &client{u, string(secret), &http.Client{Transport: &http.Transport{}}}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// requestTimeout bounds one request; maxAnswer bounds an answer in bytes, a
// hundred thousand flows.
const (
	requestTimeout = 5 * time.Second
	maxAnswer      = 128 << 20
)

// get decodes an answer into v.
func (c *client) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", c.base.JoinPath(path).String(), nil)
	if err != nil {
		return err
	}
	req.Header = c.header()
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(v)
	case http.StatusUnauthorized:
		return errSecret
	}
	return fmt.Errorf("GET %s: %s", path, resp.Status)
}

func (c *client) header() http.Header {
	h := http.Header{}
	if c.secret != "" {
		h.Set("Authorization", "Bearer "+c.secret)
	}
	return h
}

func (c *client) version(ctx context.Context) (string, error) {
	var v struct{ Version string }
	err := c.get(ctx, "/version", &v)
	return v.Version, err
}

func (c *client) rules(ctx context.Context) ([]rule, error) {
	var v struct{ Rules []rule }
	err := c.get(ctx, "/rules", &v)
	return v.Rules, err
}

func (c *client) connections(ctx context.Context) (*snapshot, error) {
	s := new(snapshot)
	err := c.get(ctx, "/connections", s)
	s.at = time.Now()
	return s, err
}

// update is what follow found out; nil fields are as before.
type update struct {
	snapshot *snapshot
	rules    []rule
	err      error
}

// follow sends updates until ctx ends. A connection that breaks is made anew.
func (c *client) follow(ctx context.Context, to chan<- update) {
	send := func(u update) bool {
		select {
		case to <- u:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for {
		err := c.stream(ctx, send)
		if ctx.Err() != nil || !send(update{err: err}) {
			return
		}
		select {
		case <-time.After(reconnectAfter):
		case <-ctx.Done():
			return
		}
	}
}

// stream reads /connections until it breaks, and /rules in between.
func (c *client) stream(ctx context.Context, send func(update) bool) error {
	u := c.base.JoinPath("/connections")
	conn, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: c.header()})
	if err != nil {
		if resp != nil && resp.StatusCode == http.StatusUnauthorized {
			return errSecret
		}
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxAnswer)
	var asked time.Time
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		up := update{snapshot: &snapshot{at: time.Now()}}
		if err := json.Unmarshal(b, up.snapshot); err != nil {
			return err
		}
		if time.Since(asked) >= rulesEvery {
			asked = time.Now()
			if up.rules, err = c.rules(ctx); err != nil {
				return err
			}
		}
		if !send(up) {
			return ctx.Err()
		}
	}
}
