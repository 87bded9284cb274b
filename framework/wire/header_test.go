package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/culvert-proxy/culvert/framework"
)

func addrs() []framework.Addr {
	return []framework.Addr{
		{IP: netip.MustParseAddr("192.0.2.7"), Port: 443},
		{IP: netip.MustParseAddr("2001:db8::1"), Port: 65535},
		{Host: "example.com", Port: 80},
		{Host: strings.Repeat("a", 255), Port: 1},
	}
}

func TestHeaderSurvivesTheWay(t *testing.T) {
	t.Parallel()
	for _, to := range addrs() {
		h := Header{Handle: 7, Flow: [16]byte{1, 2, 3}, Network: NetworkUDP, Token: NewToken(), Timeout: 1500 * time.Millisecond, To: to, Descriptor: true}
		b, err := h.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		r := bytes.NewReader(append(b, "payload"...))

		var got Header
		err = ReadHeader(r, &got)

		if err != nil || got != h {
			t.Errorf("got %+v, %v, want %+v", got, err, h)
		}
		if r.Len() != len("payload") {
			t.Errorf("%d bytes are left, want the payload's", r.Len())
		}
	}
}

func TestHeaderSkipsUnknownOptions(t *testing.T) {
	t.Parallel()
	h := Header{Handle: 1, To: addrs()[0], Descriptor: true}
	b, _ := h.Append(nil)
	body := appendOption(append([]byte{}, b[prefix:]...), 900, []byte("what a later kernel says"))
	body = appendOption(body, 901, nil)

	var got Header
	if err := got.Parse(body); err != nil || got != h {
		t.Errorf("got %+v, %v, want %+v", got, err, h)
	}
	if err := got.Parse(body[:len(body)-1]); !errors.Is(err, errShort) {
		t.Errorf("cut option: got %v, want %v", err, errShort)
	}
}

func TestHeaderOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	b, _ := (&Header{To: addrs()[0]}).Append(nil)
	b[0] = 9

	err := ReadHeader(bytes.NewReader(b), &Header{})

	if err == nil || !strings.Contains(err.Error(), "version 9") {
		t.Errorf("got %v, want an error that names the version", err)
	}
}

func TestReplySurvivesTheWay(t *testing.T) {
	t.Parallel()
	want := Reply{Status: Refused, Text: "connection refused", Addrs: [][]byte{{192, 0, 2, 1}, make([]byte, 16)}, Descriptor: true}
	b := want.Append(nil)
	b = append(b, 0x7f, 1, 0, 1, 0) // an option that this version does not know
	b[2] += 5

	var got Reply
	err := got.Parse(Status(b[0]), b[prefix:])

	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestEachClassHasANumber(t *testing.T) {
	t.Parallel()
	for s := Refused; s <= Rejected; s++ {
		err := s.Err("why")
		if got := StatusOf(err); got != s || err.Error() != "why" {
			t.Errorf("status %d: back as %d, %q", s, got, err)
		}
	}
	if got := StatusOf(errors.New("no class")); got != Other {
		t.Errorf("got %d, want %d", got, Other)
	}
	if err := Status(77).Err("later"); err == nil || framework.Classify(err) != nil {
		t.Errorf("an unknown status: got %v, want an error without class", err)
	}
}

func TestTextOfAPluginCannotSteerATerminal(t *testing.T) {
	t.Parallel()
	r := Reply{Text: "\x1b[2Jgone\n"}

	var got Reply
	if err := got.Parse(Other, r.Append(nil)[prefix:]); err != nil || got.Text != " [2Jgone " {
		t.Errorf("got %q, %v", got.Text, err)
	}
}

func FuzzHeader(f *testing.F) {
	for _, to := range addrs() {
		b, _ := (&Header{Handle: 3, To: to, Descriptor: true}).Append(nil)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var h, again Header
		if ReadHeader(bytes.NewReader(in), &h) != nil || !h.To.IsValid() {
			return
		}
		b, err := h.Append(nil)
		if err != nil {
			t.Fatalf("%+v was read and cannot be written: %v", h, err)
		}
		if err := ReadHeader(bytes.NewReader(b), &again); err != nil || again != h {
			t.Fatalf("got %+v, %v, want %+v", again, err, h)
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add(uint8(0), (&Reply{Descriptor: true}).Append(nil)[prefix:])
	f.Add(uint8(1), (&Reply{Text: "refused", Addrs: [][]byte{{1, 2, 3, 4}}}).Append(nil)[prefix:])
	f.Fuzz(func(t *testing.T, s uint8, in []byte) {
		var r, again Reply
		if r.Parse(Status(s), in) != nil {
			return
		}
		if len(r.Addrs) > 64 {
			r.Addrs = r.Addrs[:64]
		}
		r.Text = r.Text[:min(len(r.Text), maxText)]
		b := r.Append(nil)
		if err := again.Parse(Status(b[0]), b[prefix:]); err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
	})
}
