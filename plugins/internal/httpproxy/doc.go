// Package httpproxy is the engine of an HTTP proxy: CONNECT, and plain requests
// in absolute form with keep-alive, chunks, trailers and upgrades (RFC 9110,
// RFC 9112). It knows nothing of caches, and of TLS only what carries it.
package httpproxy
