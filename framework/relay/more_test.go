package relay

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-proxy/culvert/framework"
	"github.com/culvert-proxy/culvert/framework/stats"
)

var certificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
})

// tlsPair is a TLS connection after its handshake; near is the server's end.
func tlsPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	cert, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	rawNear, rawFar := tcpPair(t)
	server := tls.Server(rawNear, &tls.Config{Certificates: []tls.Certificate{cert}})
	client := tls.Client(rawFar, &tls.Config{InsecureSkipVerify: true})
	failed := make(chan error, 1)
	go func() { failed <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-failed); err != nil {
		t.Fatal(err)
	}
	return server, client
}

func TestInMemoryConnectionsWork(t *testing.T) {
	t.Parallel()
	near, client := net.Pipe()
	sNear, server := net.Pipe()
	f, done := new(stats.Flow), make(chan error, 1)
	go func() { done <- newRelay(t, Config{}).Stream(near, sNear, nil, f) }()

	const size = 1 << 20
	go func() {
		client.Write(make([]byte, size))
		client.Close()
	}()
	_, err := io.ReadFull(server, make([]byte, size))
	server.Close()

	if err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("stream: %v", err)
	}
	if up := f.Up.Load(); up != size {
		t.Errorf("counted %d up, want %d", up, size)
	}
}

// halfPipe is a net.Pipe end that can be half-closed: its peer's reads end.
type halfPipe struct {
	net.Conn
	peerDone *atomic.Bool // set by the peer's CloseWrite
	done     *atomic.Bool
	peer     net.Conn
}

func (h halfPipe) CloseWrite() error {
	h.done.Store(true)
	return h.peer.SetReadDeadline(time.Unix(1, 0))
}

func (h halfPipe) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	if err != nil && h.peerDone.Load() {
		return n, io.EOF
	}
	return n, err
}

func halfPipes() (near, far net.Conn) {
	a, b := net.Pipe()
	var da, db atomic.Bool
	return halfPipe{a, &db, &da, b}, halfPipe{b, &da, &db, a}
}

// TestSilenceAfterOneEndIsBounded measures the bound in a bubble: silence ends
// the stream, and bytes in time keep it.
func TestSilenceAfterOneEndIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, client := halfPipes()
		sNear, server := halfPipes()
		done := make(chan error, 1)
		go func() { done <- New(Config{IdleAfterEnd: time.Minute}).Stream(near, sNear, nil, new(stats.Flow)) }()
		began := time.Now()

		client.(halfPipe).CloseWrite()
		for range 10 {
			time.Sleep(50 * time.Second)
			if _, err := server.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		err := <-done

		if framework.Classify(err) != framework.ErrTimeout {
			t.Errorf("got %v, want a timeout", err)
		}
		if took := time.Since(began) - 500*time.Second; took < 0 || took > 2*time.Minute {
			t.Errorf("ended %v after the last byte, want at most two minutes", took)
		}
	})
}

func TestWithoutABoundSilenceIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, client := halfPipes()
		sNear, server := halfPipes()
		done := make(chan error, 1)
		go func() { done <- New(Config{IdleAfterEnd: -1}).Stream(near, sNear, nil, new(stats.Flow)) }()

		client.(halfPipe).CloseWrite()
		time.Sleep(24 * time.Hour)
		server.(halfPipe).CloseWrite()

		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestSlowReaderGetsAll(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	f := start(t, newRelay(t, Config{}), tcpPair, nil)
	f.client.(*net.TCPConn).SetReadBuffer(32 << 10)

	sent := make(chan []byte, 1)
	go func() { sent <- send(t, f.server, size, 3) }()
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f.client}, make([]byte, 7000))
	f.client.Close()

	if want := <-sent; err != nil || !bytes.Equal(h.Sum(nil), want) {
		t.Errorf("got %d bytes, %v", n, err)
	}
	if err := f.ended(t); err != nil {
		t.Errorf("stream: %v", err)
	}
	if down := f.stats.Down.Load(); down != size {
		t.Errorf("counted %d down, want %d", down, size)
	}
}

// waiterOf sends a stream's end to a channel that holds one.
type waiterOf chan error

func (w waiterOf) Ended(err error) { w <- err }

// brittle is a connection that panics when it is read.
type brittle struct{ net.Conn }

func (brittle) Read([]byte) (int, error) { panic("brittle") }

func TestPanicOfAConnectionEndsItsStreamOnly(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	other, end := net.Pipe()
	defer far.Close()
	defer end.Close()

	err := newRelay(t, Config{}).Stream(near, brittle{other}, nil, new(stats.Flow))

	var boom *PanicError
	if !errors.As(err, &boom) || boom.Value != "brittle" || len(boom.Stack) == 0 {
		t.Fatalf("Stream = %v, want the panic with its stack", err)
	}
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("the client's side is still open")
	}
}
