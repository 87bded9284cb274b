package stats

import (
	"context"
	"log/slog"
	"strings"
	"testing"
)

func newLog(level slog.Level) (*slog.Logger, *LogStream, *strings.Builder) {
	var out strings.Builder
	var v slog.LevelVar
	v.Set(level)
	l := NewLogStream(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}), &v)
	return slog.New(l), l, &out
}

func lines(c <-chan Line) (all []string) {
	for {
		select {
		case l := <-c:
			all = append(all, l.Level.String()+" "+l.Message)
		default:
			return all
		}
	}
}

func TestSubscribersGetTheirLevelAndTheConsoleItsOwn(t *testing.T) {
	t.Parallel()
	log, stream, out := newLog(slog.LevelWarn)
	all, endAll := stream.Subscribe(slog.LevelDebug)
	few, endFew := stream.Subscribe(slog.LevelError)
	defer endAll()
	defer endFew()

	log.Debug("one")
	log.Info("two", "k", 1)
	log.Error("three", "err", "broken")

	if got := strings.Join(lines(all), "; "); got != "DEBUG one; INFO two k=1; ERROR three err=broken" {
		t.Errorf("debug subscriber got %q", got)
	}
	if got := strings.Join(lines(few), "; "); got != "ERROR three err=broken" {
		t.Errorf("error subscriber got %q", got)
	}
	if s := out.String(); strings.Contains(s, "two") || !strings.Contains(s, "three") {
		t.Errorf("console got %q", s)
	}
}

func TestFlowLinesReachInfoSubscribersOnly(t *testing.T) {
	t.Parallel()
	log, stream, out := newLog(slog.LevelInfo)
	c, end := stream.Subscribe(slog.LevelInfo)
	defer end()

	log.Log(context.Background(), LevelFlow, "flow")

	if got := lines(c); len(got) != 1 {
		t.Errorf("subscriber got %q", got)
	}
	if out.Len() != 0 {
		t.Errorf("console got %q", out.String())
	}
}

func TestNothingIsEnabledThatNobodyWants(t *testing.T) {
	t.Parallel()
	log, stream, _ := newLog(LevelSilent)
	ctx := context.Background()
	if log.Enabled(ctx, slog.LevelError) {
		t.Error("silent log is enabled")
	}

	_, end := stream.Subscribe(slog.LevelInfo)
	if !log.Enabled(ctx, slog.LevelInfo) || log.Enabled(ctx, slog.LevelDebug) {
		t.Error("the subscriber's level does not decide")
	}
	end()
	end()

	if log.Enabled(ctx, slog.LevelError) {
		t.Error("enabled after the last subscriber left")
	}
}

func TestSlowSubscriberLosesLinesAndDelaysNobody(t *testing.T) {
	t.Parallel()
	log, stream, _ := newLog(LevelSilent)
	slow, end := stream.Subscribe(slog.LevelInfo)
	defer end()

	for range 5000 {
		log.Info("line")
	}

	if n := len(lines(slow)); n != 1024 {
		t.Errorf("kept %d lines, want 1024", n)
	}
}

func TestLinesCarryTheLoggersAttributes(t *testing.T) {
	t.Parallel()
	log, stream, _ := newLog(LevelSilent)
	c, end := stream.Subscribe(slog.LevelInfo)
	defer end()

	log.With("plugin", "ss").With("name", "tokyo").Info("start", "secret", slog.AnyValue(hidden{}))

	got := strings.Join(lines(c), "; ")
	if got != "INFO start secret=*** plugin=ss name=tokyo" {
		t.Errorf("got %q", got)
	}
}

// hidden is a value that says what to log of it, as framework.Secret does.
type hidden struct{}

func (hidden) LogValue() slog.Value { return slog.StringValue("***") }
