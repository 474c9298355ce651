package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/moby/moby/api/types/common"

	"pier/lib/errkind"
)

// statusOf is the one table from error kinds to HTTP statuses.
var statusOf = map[errkind.Kind]int{
	errkind.Internal:     http.StatusInternalServerError,
	errkind.Invalid:      http.StatusBadRequest,
	errkind.NotFound:     http.StatusNotFound,
	errkind.Conflict:     http.StatusConflict,
	errkind.NotModified:  http.StatusNotModified,
	errkind.Forbidden:    http.StatusForbidden,
	errkind.Unauthorized: http.StatusUnauthorized,
	errkind.Unavailable:  http.StatusServiceUnavailable,
	errkind.Unsupported:  http.StatusNotImplemented,
	errkind.Exhausted:    http.StatusInternalServerError, // as Docker answers a full disk or a taken port
	errkind.Timeout:      http.StatusGatewayTimeout,
	errkind.Canceled:     499, // the client went away; nobody reads it
}

// httpStatus returns the status for err. A body over its limit is the one error whose status no kind has.
func httpStatus(err error) int {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	return statusOf[errkind.Of(err)]
}

// writeJSON answers with v. The whole answer is encoded first, so that an error can still become a proper one.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return errkind.New(errkind.Internal, "encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the client may be gone
	return nil
}

// writeError answers with {"message": ...} and the status of err.
func writeError(w http.ResponseWriter, err error) {
	status := httpStatus(err)
	if status == http.StatusNotModified {
		w.WriteHeader(status)
		return
	}
	_ = writeJSON(w, status, common.ErrorResponse{Message: err.Error()})
}

// noContent answers 204 when err is nil.
func noContent(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// list gives an empty, not a missing, JSON array for a nil slice.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// flushWriter sends every write to the client at once.
type flushWriter struct {
	w io.Writer
	c *http.ResponseController
}

func newFlushWriter(w http.ResponseWriter) *flushWriter {
	return &flushWriter{w: w, c: http.NewResponseController(w)}
}

func (f *flushWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.c.Flush()
	}
	return n, err
}

// trackedWriter remembers whether an answer has begun.
type trackedWriter struct {
	http.ResponseWriter
	wrote bool
}

func (t *trackedWriter) WriteHeader(status int) {
	t.wrote = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *trackedWriter) Write(p []byte) (int, error) {
	t.wrote = true
	return t.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach Flush and Hijack.
func (t *trackedWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }
