package subproc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxLine  = 16 << 10 // bytes of a line; chosen: a record with some context
	maxTrace = 64 << 10 // bytes of a trace; chosen: some hundred goroutines
	// A plugin may write so many lines and bytes a second. What is more is not
	// read until the second ends, so that it waits at its own cost. Chosen.
	linesPerSecond = 200
	bytesPerSecond = 1 << 20
)

// journal brings what a process writes to stderr into the log: JSON lines with
// their level and fields, others as info, a panic as one error.
type journal struct {
	log *slog.Logger

	mu    sync.Mutex // guards trace
	trace string     // the last panic
}

// follow reads until r ends. stop ends a wait.
func (j *journal) follow(r io.Reader, stop <-chan struct{}) {
	lines := bufio.NewReaderSize(r, maxLine)
	var trace bytes.Buffer
	b := budget{stop: stop}
	for {
		line, more, err := lines.ReadLine()
		size := len(line)
		text := strings.ToValidUTF8(string(line), "�")
		for more && err == nil {
			var rest []byte
			rest, more, err = lines.ReadLine()
			size += len(rest)
			b.take(j, 0, len(rest))
		}
		switch {
		case err != nil:
			j.panicked(trace.String())
			return
		case trace.Len() > 0 || isPanic(text):
			if trace.Len() < maxTrace {
				trace.WriteString(text + "\n")
			}
		case b.take(j, 1, size):
			j.line(text)
		}
	}
}

// isPanic says whether a line begins the trace that Go's runtime ends with.
func isPanic(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "SIG") && strings.Contains(line, ": ")
}

func (j *journal) panicked(trace string) {
	if trace == "" {
		return
	}
	j.mu.Lock()
	j.trace = trace
	j.mu.Unlock()
	j.log.Error("the plugin panicked", "stack", trace)
}

// last is the trace of the last panic, "" for none.
func (j *journal) last() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.trace
}

// line logs one line.
func (j *journal) line(text string) {
	if strings.TrimSpace(text) == "" {
		return
	}
	var fields map[string]any
	if !strings.HasPrefix(text, "{") || json.Unmarshal([]byte(text), &fields) != nil {
		j.log.Info(text)
		return
	}
	level, msg := slog.LevelInfo, ""
	for key, v := range fields {
		word, _ := v.(string)
		switch strings.TrimPrefix(key, "@") { // go-hclog marks its own keys
		case "level":
			level.UnmarshalText([]byte(word))
		case "msg", "message":
			msg = word
		case "time", "timestamp":
		default:
			continue
		}
		delete(fields, key)
	}
	if stack, _ := fields["stack"].(string); stack != "" && level >= slog.LevelError {
		j.mu.Lock()
		j.trace = stack
		j.mu.Unlock()
	}
	attrs := make([]slog.Attr, 0, len(fields))
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		attrs = append(attrs, slog.Any(key, fields[key]))
	}
	j.log.LogAttrs(context.Background(), level, msg, attrs...)
}

// budget is what a process may write in the second that runs.
type budget struct {
	stop         <-chan struct{}
	until        time.Time
	lines, bytes int
	held         int
}

// take takes lines and bytes from the budget and waits when the bytes are used
// up. It is false when the lines are.
func (b *budget) take(j *journal, lines, bytes int) bool {
	now := time.Now()
	if now.After(b.until) {
		if b.held > 0 {
			j.log.Warn("the plugin logs too much", "held_back", b.held)
		}
		*b = budget{stop: b.stop, until: now.Add(time.Second)}
	}
	b.lines += lines
	b.bytes += bytes
	if b.bytes > bytesPerSecond {
		select {
		case <-time.After(time.Until(b.until)):
		case <-b.stop:
		}
	}
	if b.lines > linesPerSecond {
		b.held += lines
		return false
	}
	return true
}

// pipe is a Writer whose lines go to a journal: what a plugin prints after the
// handshake comes over the control channel.
func (j *journal) pipe() (io.WriteCloser, func()) {
	r, w := io.Pipe()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // ends when the returned function closes r
		defer close(done)
		j.follow(r, stop)
	}()
	return w, sync.OnceFunc(func() {
		close(stop)
		r.Close()
		<-done
	})
}
