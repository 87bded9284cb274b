package rest

import (
	"io/fs"
	"net/http"
	"os"

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
	root, err := os.OpenRoot(a.cfg.UI)
	if err != nil {
		return echo.ErrNotFound
	}
	defer root.Close()
	http.StripPrefix("/ui", http.FileServerFS(foundOnly{root.FS()})).ServeHTTP(w, r)
	return nil
}

// foundOnly is a file system in which what cannot be opened is not there: a
// name that is too long or leads outside is no fault of the server.
type foundOnly struct{ fs.FS }

func (f foundOnly) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return file, nil
}
