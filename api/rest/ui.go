package rest

import (
	"net/http"
	"os"
	"strings"

	"github.com/labstack/echo/v4"
)

// mountUI serves the files of the external user interface, without the secret.
func (a *API) mountUI(e *echo.Echo) {
	if a.cfg.UI == "" {
		return
	}
	e.GET("/ui", func(c echo.Context) error {
		http.Redirect(c.Response(), c.Request(), "/ui/", http.StatusTemporaryRedirect)
		return nil
	})
	e.GET("/ui/*", a.serveUI)
}

// serveUI serves one file. The directory is opened for each request, so that
// it may be exchanged as a whole; nothing outside it can be reached, through
// links neither.
func (a *API) serveUI(c echo.Context) error {
	r, w := c.Request(), c.Response()
	if strings.ContainsRune(r.URL.Path, 0) {
		return echo.ErrNotFound
	}
	root, err := os.OpenRoot(a.cfg.UI)
	if err != nil {
		return echo.ErrNotFound
	}
	defer root.Close()
	http.StripPrefix("/ui", http.FileServerFS(root.FS())).ServeHTTP(w, r)
	return nil
}
