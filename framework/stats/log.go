package stats

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Levels beside slog's own.
const (
	// LevelFlow is for the line that each flow writes. Subscribers to info get
	// it, since dashboards show it there; the console writes it at debug only.
	LevelFlow = slog.Level(-1)
	// LevelSilent is above all levels: nothing is written.
	LevelSilent = slog.Level(64)
)

// Line is one log record as text.
type Line struct {
	Time    time.Time
	Level   slog.Level
	Message string // the message and its attributes
}

// LogStream is a slog.Handler that writes to next what reaches Level and sends
// every record that a subscriber asked for to it, whatever Level is. A slow
// subscriber loses lines and delays nobody.
type LogStream struct {
	Level *slog.LevelVar
	next  slog.Handler
	attrs string // rendered attributes of this logger, with a leading space
	hub   *hub
}

type hub struct {
	mu   sync.Mutex // guards subs
	subs map[chan Line]slog.Level
	min  atomic.Int64 // the lowest level that anybody subscribed to
}

// NewLogStream makes a LogStream over next.
func NewLogStream(next slog.Handler, level *slog.LevelVar) *LogStream {
	h := &hub{subs: map[chan Line]slog.Level{}}
	h.min.Store(int64(LevelSilent))
	return &LogStream{Level: level, next: next, hub: h}
}

// Subscribe returns a channel of lines at level and above, with info those of
// LevelFlow included, and a function that ends the subscription. The channel holds 1,024 lines and is never closed.
func (l *LogStream) Subscribe(level slog.Level) (<-chan Line, func()) {
	if level == slog.LevelInfo {
		level = LevelFlow
	}
	c := make(chan Line, 1024)
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	l.hub.subs[c] = level
	l.hub.refresh()
	return c, func() {
		l.hub.mu.Lock()
		defer l.hub.mu.Unlock()
		delete(l.hub.subs, c)
		l.hub.refresh()
	}
}

// refresh sets min; the caller holds mu.
func (h *hub) refresh() {
	low := LevelSilent
	for _, level := range h.subs {
		low = min(low, level)
	}
	h.min.Store(int64(low))
}

// Enabled says whether a record at level would reach anybody.
func (l *LogStream) Enabled(_ context.Context, level slog.Level) bool {
	return level >= l.Level.Level() || int64(level) >= l.hub.min.Load()
}

// Handle writes and sends a record.
func (l *LogStream) Handle(ctx context.Context, r slog.Record) error {
	if int64(r.Level) >= l.hub.min.Load() {
		var b strings.Builder
		b.WriteString(r.Message)
		r.Attrs(func(a slog.Attr) bool { writeAttr(&b, a); return true })
		b.WriteString(l.attrs)
		l.hub.send(Line{r.Time, r.Level, b.String()})
	}
	if r.Level >= l.Level.Level() {
		return l.next.Handle(ctx, r)
	}
	return nil
}

func (h *hub) send(line Line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c, level := range h.subs {
		if line.Level >= level {
			select {
			case c <- line:
			default:
			}
		}
	}
}

// WithAttrs is a handler with more attributes.
func (l *LogStream) WithAttrs(as []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(l.attrs)
	for _, a := range as {
		writeAttr(&b, a)
	}
	return &LogStream{l.Level, l.next.WithAttrs(as), b.String(), l.hub}
}

// WithGroup groups the attributes in what next writes.
func (l *LogStream) WithGroup(name string) slog.Handler {
	return &LogStream{l.Level, l.next.WithGroup(name), l.attrs, l.hub}
}

func writeAttr(b *strings.Builder, a slog.Attr) {
	b.WriteByte(' ')
	b.WriteString(a.Key)
	b.WriteByte('=')
	b.WriteString(a.Value.Resolve().String())
}
