// Package wire is the protocol between the kernel and a plugin process, both
// ends of it. Remote is the kernel's end: it makes Descriptors of what a
// process holds, and keeps their instances while processes come and go. Server
// is the process's end: it serves Descriptors as they are written for the tree.
// Control goes over gRPC; each flow, and each dial of a plugin, has a socket of
// its own that begins with a Header. How a process starts and who watches it is
// the business of registry/subproc and framework/serve. The protocol is
// described for authors in proto/v1/README.md.
package wire

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"time"
)

// Version is the major version of the protocol that this package speaks.
const Version = 1

// What a plugin process finds in its environment, beside go-plugin's own.
const (
	CookieKey   = "CULVERT_PLUGIN"       // says that the kernel started it
	CookieValue = "culvert.plugin.v1"    // the same for all versions to come
	EnvData     = "CULVERT_PLUGIN_DATA"  // path of the Unix socket to listen on for flows
	EnvHost     = "CULVERT_PLUGIN_HOST"  // path of the kernel's Unix socket
	EnvToken    = "CULVERT_PLUGIN_TOKEN" // 16 bytes in hex, in each header
	EnvName     = "CULVERT_PLUGIN_NAME"  // what the user calls the plugin
	HealthName  = "plugin"               // service name of the health check, as go-plugin has it
	MaxMessage  = 4 << 20                // bytes of one control message
	MaxSchema   = 1 << 20                // bytes of a schema
	maxChunk    = 1 << 20                // bytes of a Chunk's data
	headerWait  = 5 * time.Second        // for a header, or a reply without a deadline, to arrive; chosen: as long as a dial
	ruleTimeout = 50 * time.Millisecond  // of a Match; beyond it a rule does not hold
	checkWait   = 2 * time.Second        // of a Check or an Open
	closeWait   = 2 * time.Second        // of a Close
)

// Capabilities are what this kernel offers; a type may require them.
func Capabilities() []string { return []string{"packet", "descriptor", "rule-cache", "count"} }

// Token is the secret of one launch: whoever knows it is the kernel or the
// process that it started.
type Token [16]byte

// NewToken makes a random Token.
func NewToken() (t Token) {
	rand.Read(t[:]) // never fails
	return t
}

// ParseToken reads what String wrote.
func ParseToken(s string) (t Token, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(t) {
		return t, errors.New("a token is 32 hex digits")
	}
	copy(t[:], b)
	return t, nil
}

// String is the token in hex.
func (t Token) String() string { return hex.EncodeToString(t[:]) }

// equal takes the same time whatever the tokens are.
func (t Token) equal(o Token) bool { return subtle.ConstantTimeCompare(t[:], o[:]) == 1 }
