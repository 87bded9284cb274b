// Command peer is a plugin written by hand from proto/v1/README.md: it uses
// neither the SDK, nor the generated code, nor a line of Culvert's. It freezes
// version 1 of the protocol: when it stops working, so does a plugin that
// somebody wrote in another language. It says some things that the kernel does
// not know, which it is to skip.
package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

func main() {
	if os.Getenv("CULVERT_PLUGIN") != "culvert.plugin.v1" {
		fmt.Fprintln(os.Stderr, "this is a plugin")
		os.Exit(1)
	}
	data, err := net.Listen("unix", os.Getenv("CULVERT_PLUGIN_DATA"))
	if err != nil {
		panic(err)
	}
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "control")
	control, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	go flows(data)
	fmt.Printf("1|1|unix|%s|grpc|\n", path)
	fmt.Fprintln(os.Stderr, `{"level":"INFO","msg":"the peer is there","by":"hand"}`)
	server := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(call))
	go server.Serve(control)
	io.Copy(io.Discard, os.Stdin) // the kernel is gone when it ends
}

// raw leaves messages as bytes.
type raw struct{}

func (raw) Name() string                    { return "proto" }
func (raw) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = append([]byte{}, b...); return nil }

// call answers each call of the control channel.
func call(_ any, s grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(s)
	var in []byte
	if err := s.RecvMsg(&in); err != nil {
		return err
	}
	switch method {
	case "/grpc.health.v1.Health/Check":
		return s.SendMsg(number(nil, 1, 1))
	case "/culvert.plugin.v1.Plugin/Describe":
		return s.SendMsg(describe())
	case "/culvert.plugin.v1.Plugin/Check":
		return s.SendMsg(check(in))
	case "/culvert.plugin.v1.Plugin/Open", "/culvert.plugin.v1.Plugin/Close", "/culvert.plugin.v1.Plugin/Drain":
		return s.SendMsg(text(nil, 77, "of a later version"))
	case "/culvert.plugin.v1.Plugin/Match":
		return s.SendMsg(match(in))
	}
	return status.Error(codes.Unimplemented, method)
}

func describe() []byte {
	out := text(nil, 1, "outbound")
	out = text(text(out, 2, "hand"), 3, "Hand")
	out = text(text(out, 7, "packet"), 7, "a capability of a later version")
	out = text(out, 9, `{"type":"object","properties":{"word":{"type":"string"}},"x-later":true}`)
	out = text(out, 100, "a field of a later version")
	rule := text(text(text(nil, 1, "rule"), 2, "HAND"), 3, "Hand")
	return text(text(text(text(nil, 1, string(out)), 1, string(rule)), 2, "v0.1"), 99, "unknown")
}

// check refuses one word.
func check(in []byte) []byte {
	if strings.Contains(string(field(in, 5)), `"wrong"`) {
		return text(nil, 1, string(text(text(nil, 1, "word"), 2, "is wrong")))
	}
	return nil
}

// match holds for a host called hand.test, and says so for a minute.
func match(in []byte) []byte {
	v := number(nil, 2, 60000)
	if string(field(field(in, 2), 4)) == "hand.test" {
		v = number(v, 1, 1)
	}
	return text(nil, 1, string(v))
}

func text(b []byte, n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func number(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

// field is the first value of a field that holds bytes.
func field(b []byte, want protowire.Number) []byte {
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return nil
		}
		b = b[size:]
		if n == want && typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b)
			return v
		}
		if size = protowire.ConsumeFieldValue(n, typ, b); size < 0 {
			return nil
		}
		b = b[size:]
	}
	return nil
}

func flows(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go serve(c.(*net.UnixConn))
	}
}

// serve has the kernel dial the destination, and copies. Streams and records
// look the same on both channels.
func serve(c *net.UnixConn) {
	defer c.Close()
	head := make([]byte, 3)
	io.ReadFull(c, head)
	body := make([]byte, binary.BigEndian.Uint16(head[1:]))
	if _, err := io.ReadFull(c, body); err != nil || head[0] != 1 || len(body) < 44 {
		return
	}
	token, _ := hex.DecodeString(os.Getenv("CULVERT_PLUGIN_TOKEN"))
	if string(body[21:37]) != string(token) {
		return
	}
	size := map[byte]int{1: 7, 4: 19, 3: 4 + int(body[42])}[body[41]]
	ask := append(append([]byte{}, body[:41+size]...), 0x70, 0x01, 0, 2, 'h', 'i') // and an option of a later version
	h, err := net.Dial("unix", os.Getenv("CULVERT_PLUGIN_HOST"))
	if err != nil {
		return
	}
	defer h.Close()
	h.Write(append([]byte{1, byte(len(ask) >> 8), byte(len(ask))}, ask...))
	answer := make([]byte, 3)
	io.ReadFull(h, answer)
	rest := make([]byte, binary.BigEndian.Uint16(answer[1:]))
	if _, err := io.ReadFull(h, rest); err != nil {
		return
	}
	rest = append(rest, 0x70, 0x02, 0, 0)
	c.Write(append([]byte{answer[0], byte(len(rest) >> 8), byte(len(rest))}, rest...))
	if answer[0] != 0 {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { io.Copy(h, c); h.(*net.UnixConn).CloseWrite() })
	both.Go(func() { io.Copy(c, h); c.CloseWrite() })
	both.Wait()
}
