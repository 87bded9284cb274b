package rest

import (
	"log/slog"

	"github.com/labstack/echo/v4"

	"github.com/culvert-proxy/culvert/framework/stats"
)

// logLevels are the levels that a client may ask for: exactly these spellings.
var logLevels = map[string]slog.Level{
	"":        stats.LevelFlow,
	"debug":   slog.LevelDebug,
	"info":    stats.LevelFlow, // a dashboard shows the line of each flow at info
	"warning": slog.LevelWarn,
	"error":   slog.LevelError,
	"silent":  stats.LevelSilent,
}

// logs sends log lines from now on, whatever the kernel's own level is.
func (a *API) logs(c echo.Context) error {
	level, ok := logLevels[c.QueryParam("level")]
	if !ok {
		return badBody(c)
	}
	encode := appendLine
	if c.QueryParam("format") == "structured" {
		encode = appendStructuredLine
	}
	// Subscribed before the client hears that it is connected: what is logged
	// from then on reaches it.
	incoming, leave := a.Logs.Subscribe(level)
	defer leave()
	s, err := a.openStream(c)
	if s == nil {
		return err
	}
	defer s.close()
	var b []byte
	for {
		select {
		case line := <-incoming:
			b = encode(b[:0], line)
			if s.send(b) != nil {
				return nil
			}
		case <-s.gone():
			return nil
		case <-a.ctx.Done():
			return nil
		}
	}
}

// levelName spells a level as the API does.
func levelName(l slog.Level) string {
	switch {
	case l < stats.LevelFlow:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warning"
	}
	return "error"
}

func appendLine(b []byte, l stats.Line) []byte {
	b = append(b, `{"type":"`...)
	b = append(b, levelName(l.Level)...)
	b = append(b, '"')
	b = fieldString(b, "payload", l.Message)
	return append(b, "}\n"...)
}

// appendStructuredLine appends the second form, which says warn for warning.
func appendStructuredLine(b []byte, l stats.Line) []byte {
	level := levelName(l.Level)
	if level == "warning" {
		level = "warn"
	}
	b = append(b, `{"time":"`...)
	b = l.Time.AppendFormat(b, "15:04:05")
	b = append(b, `","level":"`...)
	b = append(b, level...)
	b = append(b, '"')
	b = fieldString(b, "message", l.Message)
	return append(b, `,"fields":[]}`+"\n"...)
}
