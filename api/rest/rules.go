package rest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

// listRules answers with the rules in the order of evaluation.
func (a *API) listRules(c echo.Context) error {
	fr := newFrame(func(b []byte) []byte {
		b = append(b, `{"rules":[`...)
		for i, r := range a.Rules.Rules() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendRule(b, i, &r)
		}
		return append(b, "]}\n"...)
	})
	defer fr.release()
	return respondRaw(c, http.StatusOK, fr.data)
}

func appendRule(b []byte, index int, r *Rule) []byte {
	b = append(b, `{"index":`...)
	b = appendInt(b, int64(index))
	b = fieldString(b, "type", r.Type)
	b = fieldString(b, "payload", r.Payload)
	b = fieldString(b, "proxy", r.Target)
	b = fieldInt(b, "size", int64(r.Size))
	b = append(b, `,"extra":{"disabled":`...)
	b = appendBool(b, r.Disabled)
	b = fieldInt(b, "hitCount", int64(r.Hits))
	b = fieldTime(b, "hitAt", orEpoch(r.HitAt))
	b = fieldInt(b, "missCount", int64(r.Misses))
	b = fieldTime(b, "missAt", orEpoch(r.MissAt))
	return append(b, "}}"...)
}

// orEpoch is t, or the Unix epoch for what never happened: in rules the API
// uses it in place of the zero time.
func orEpoch(t time.Time) time.Time {
	if t.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return t
}

// disableRules switches rules off and on until the next reload.
func (a *API) disableRules(c echo.Context) error {
	var body map[string]*bool
	if err := a.decodeBody(c, a.cfg.Limits.Body, &body); err != nil {
		return refuse(c, err)
	}
	if body == nil {
		return badBody(c)
	}
	states := make(map[int]bool, len(body))
	for key, disabled := range body {
		index, err := strconv.Atoi(key)
		if err != nil || disabled == nil {
			return badBody(c)
		}
		states[index] = *disabled
	}
	a.Rules.DisableRules(states)
	return c.NoContent(http.StatusNoContent)
}
