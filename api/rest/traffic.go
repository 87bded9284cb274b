package rest

import (
	"strconv"

	"github.com/labstack/echo/v4"
)

// streamTraffic sends bytes per second and totals, once a second.
func (a *API) streamTraffic(c echo.Context) error { return a.streamFeed(c, a.traffic, nil) }

// streamMemory sends the resident set size, once a second. The first figure is
// 0, the origin of a chart.
func (a *API) streamMemory(c echo.Context) error {
	return a.streamFeed(c, a.memory, appendMemory(nil, 0))
}

// trafficEncoder starts counting when it is called.
func (a *API) trafficEncoder() encoder {
	lastUp, lastDown := a.Stats.Bytes()
	return func(b []byte) []byte {
		up, down := a.Stats.Bytes()
		b = append(b, `{"up":`...)
		b = strconv.AppendUint(b, up-lastUp, 10)
		b = append(b, `,"down":`...)
		b = strconv.AppendUint(b, down-lastDown, 10)
		b = append(b, `,"upTotal":`...)
		b = strconv.AppendUint(b, up, 10)
		b = append(b, `,"downTotal":`...)
		b = strconv.AppendUint(b, down, 10)
		lastUp, lastDown = up, down
		return append(b, "}\n"...)
	}
}

func memoryEncoder() encoder {
	return func(b []byte) []byte { return appendMemory(b, residentBytes()) }
}

func appendMemory(b []byte, inUse uint64) []byte {
	b = append(b, `{"inuse":`...)
	b = strconv.AppendUint(b, inUse, 10)
	return append(b, `,"oslimit":0}`+"\n"...)
}
