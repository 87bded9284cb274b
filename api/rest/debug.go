package rest

import (
	"expvar"
	"net/http"
	"net/http/pprof"
	"runtime/debug"

	"github.com/labstack/echo/v4"
)

// mountDebug serves Go's profiles and variables, without the secret, in a
// kernel that was started at level debug.
func (a *API) mountDebug(e *echo.Echo) {
	if !a.cfg.Debug {
		return
	}
	home := func(c echo.Context) error { return c.Redirect(http.StatusMovedPermanently, "/debug/pprof/") }
	e.GET("/debug", home)
	e.GET("/debug/pprof", home)
	e.GET("/debug/pprof/*", echo.WrapHandler(http.HandlerFunc(pprof.Index)))
	e.GET("/debug/pprof/cmdline", echo.WrapHandler(http.HandlerFunc(pprof.Cmdline)))
	e.GET("/debug/pprof/profile", echo.WrapHandler(http.HandlerFunc(pprof.Profile)))
	e.GET("/debug/pprof/symbol", echo.WrapHandler(http.HandlerFunc(pprof.Symbol)))
	e.POST("/debug/pprof/symbol", echo.WrapHandler(http.HandlerFunc(pprof.Symbol)))
	e.GET("/debug/pprof/trace", echo.WrapHandler(http.HandlerFunc(pprof.Trace)))
	e.GET("/debug/vars", echo.WrapHandler(expvar.Handler()))
	e.PUT("/debug/gc", func(c echo.Context) error {
		debug.FreeOSMemory() // collects, and gives back what that freed
		return c.NoContent(http.StatusOK)
	})
}
