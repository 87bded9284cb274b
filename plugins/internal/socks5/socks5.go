// Package socks5 speaks SOCKS: version 5 (RFC 1928, RFC 1929) as client and
// server, versions 4 and 4a as server, and the header of version 5 datagrams.
// Inbounds and outbounds build on it; it opens no socket itself.
package socks5
