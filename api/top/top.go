// Package top is `culvert top`: a live view of flows, rates and rule hits in a
// terminal. It reads the REST API like any other client, so it also works from
// another machine; it knows nothing of the kernel.
package top

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/culvert-proxy/culvert/framework"
)

// Options say what to show and where.
type Options struct {
	URL    string           // of the controller, "http://127.0.0.1:9090"
	Secret framework.Secret // "" for none
	Out    io.Writer        // os.Stdout when nil
	// In is where keys come from; nil for none. A reader that is no terminal is
	// read until it ends, or has said q.
	In   io.Reader
	Once bool // print one frame, as plain text, and return

	// Size is the size of the terminal in columns and lines; nil asks Out, and
	// takes 80 by 24 when Out is no terminal.
	Size func() (width, height int)
}

// What a terminal is told.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // another screen, no cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	toTop       = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

const (
	defaultWidth, defaultHeight = 80, 24
	onceHeight                  = 1 << 16 // a frame that is printed has all lines
	rulesEvery                  = 2 * time.Second
	reconnectAfter              = time.Second
)

// Run shows the view until ctx ends or somebody presses q; both are no error.
// It returns an error when the controller cannot be reached at the start or
// refuses the secret.
func Run(ctx context.Context, o Options) error {
	if o.Out == nil {
		o.Out = os.Stdout
	}
	c, err := newClient(o.URL, o.Secret)
	if err != nil {
		return err
	}
	defer c.close()
	v := &view{url: o.URL}
	if v.version, err = c.version(ctx); err != nil {
		return err
	}
	if err := v.poll(ctx, c); err != nil {
		return err
	}
	if o.Once {
		width, _ := o.size()
		_, err := io.WriteString(o.Out, v.frame(width, onceHeight))
		return err
	}
	v.hint = "q quits"
	return live(ctx, o, c, v)
}

// size is the size of the terminal.
func (o Options) size() (width, height int) {
	if o.Size != nil {
		return o.Size()
	}
	if f, ok := o.Out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			return w, h
		}
	}
	return defaultWidth, defaultHeight
}

// live redraws with each message of the controller.
func live(ctx context.Context, o Options, c *client, v *view) error {
	keys, restore, err := openKeys(o.In)
	if err != nil {
		return err
	}
	defer restore()
	ctx, cancel := context.WithCancel(ctx)
	updates := make(chan update)
	ended := make(chan struct{})
	go func() { // ends with ctx
		defer close(ended)
		c.follow(ctx, updates)
	}()
	defer func() { cancel(); <-ended }()
	if _, err := io.WriteString(o.Out, enterScreen); err != nil {
		return err
	}
	defer io.WriteString(o.Out, leaveScreen)
	for {
		if err := draw(o, v); err != nil {
			return err
		}
		select {
		case u := <-updates:
			if errors.Is(u.err, errSecret) {
				return u.err
			}
			v.apply(u)
		case k, ok := <-keys:
			switch {
			case !ok:
				keys = nil
			case k == 'q' || k == 'Q' || k == 3: // 3 is Ctrl-C on a raw terminal
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// draw writes a frame over the last one.
func draw(o Options, v *view) error {
	width, height := o.size()
	_, err := io.WriteString(o.Out, toTop+overwrite(v.frame(width, height))+clearBelow)
	return err
}

// openKeys returns the bytes of in, and a function that puts a terminal back as
// it was. A terminal is opened anew, so that closing it ends the reader.
func openKeys(in io.Reader) (keys <-chan byte, restore func(), err error) {
	none := func() {}
	if in == nil {
		return nil, none, nil
	}
	f, ok := in.(*os.File)
	if !ok {
		keys, _ := readKeys(in)
		return keys, none, nil
	}
	if !term.IsTerminal(int(f.Fd())) {
		return nil, none, nil
	}
	state, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("set up the terminal: %w", err)
	}
	reset := func() { _ = term.Restore(int(f.Fd()), state) }
	tty, err := os.Open("/dev/tty")
	if err != nil {
		reset()
		return nil, nil, fmt.Errorf("open the terminal: %w", err)
	}
	keys, ended := readKeys(tty)
	return keys, func() {
		tty.Close()
		<-ended
		reset()
	}, nil
}

// readKeys sends what r has until it ends, or until q.
func readKeys(r io.Reader) (keys <-chan byte, ended <-chan struct{}) {
	c, done := make(chan byte, 16), make(chan struct{})
	go func() { // ends when r ends or is closed
		defer close(done)
		defer close(c)
		var b [1]byte
		for {
			if n, err := r.Read(b[:]); n == 0 || err != nil {
				return
			}
			select {
			case c <- b[0]:
			default: // nobody looks: keys are not kept
			}
			if b[0] == 'q' || b[0] == 'Q' {
				return
			}
		}
	}()
	return c, done
}
