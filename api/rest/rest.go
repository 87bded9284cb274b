// Package rest answers the controller's REST API and its WebSocket streams. It
// sees the kernel through the interfaces in kernel.go and owns no listener:
// package api binds sockets and hands requests to the Handler.
package rest
