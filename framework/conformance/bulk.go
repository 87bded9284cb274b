package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"
)

// block is the unit of bulk data. Each has its number and its direction at the
// start, so that blocks that are lost, repeated or swapped change the hash.
const block = 256 << 10

// volume is how many bytes go each way.
func (t *trial) volume() int {
	if t.short {
		return 4 << 20
	}
	return 64 << 20
}

// pour writes n bytes of one direction and returns their hash.
func pour(w io.Writer, n int, direction byte) (sum []byte, err error) {
	b := bytes.Repeat([]byte("all that is sent arrives "), block/25+1)[:block]
	h := sha256.New()
	for i := range n / block {
		binary.BigEndian.PutUint64(b, uint64(i)<<8|uint64(direction))
		h.Write(b)
		if _, err := w.Write(b); err != nil {
			return nil, fmt.Errorf("write block %d of %d: %w", i, n/block, err)
		}
	}
	return h.Sum(nil), nil
}

// drain reads n bytes and returns their hash.
func drain(r io.Reader, n int) (sum []byte, err error) {
	var h hash.Hash = sha256.New()
	got, err := io.Copy(h, io.LimitReader(r, int64(n)))
	if err == nil && got < int64(n) {
		err = fmt.Errorf("got %d of %d bytes", got, n)
	}
	return h.Sum(nil), err
}

// both pours one direction while it drains the other.
func both(c io.ReadWriter, n int, direction byte) (sent, got []byte, err error) {
	var writing sync.WaitGroup
	var failed error
	writing.Go(func() { sent, failed = pour(c, n, direction) }) // ends with the last write
	got, err = drain(c, n)
	writing.Wait()
	if err == nil {
		err = failed
	}
	return sent, got, err
}

func bulk(t *trial) {
	n := t.volume()
	type end struct {
		sent, got []byte
		err       error
	}
	far := make(chan end, 1)
	to := t.listen("127.0.0.1:0", func(c *tcpConn) {
		c.SetDeadline(time.Now().Add(t.pace.whole))
		var e end
		e.sent, e.got, e.err = both(c, n, 'd')
		far <- e
		hold(c)
	})
	c := t.connect(t.reaching(), to)
	c.SetDeadline(time.Now().Add(t.pace.whole))

	sent, got, err := both(c, n, 'u')

	if err != nil {
		t.fatalf("client: %v", err)
	}
	e := <-far
	if e.err != nil {
		t.fatalf("destination: %v", e.err)
	}
	if !bytes.Equal(sent, e.got) {
		t.errorf("what the destination got is not what the client sent")
	}
	if !bytes.Equal(got, e.sent) {
		t.errorf("what the client got is not what the destination sent")
	}
}
