package server

import (
	"bytes"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"pier/lib/errkind"
)

// A refusal that comes before the body has been read leaves the connection fit for the next request.
func TestAnswerEarly(t *testing.T) {
	s := &Server{o: Options{Log: slog.New(slog.DiscardHandler)}}
	srv := httptest.NewUnstartedServer(s.handle(func(w http.ResponseWriter, r *request) error {
		r.answerEarly(w)
		if r.URL.Path == "/read" {
			_, err := io.Copy(w, r.Body)
			return err
		}
		return errkind.New(errkind.Invalid, "no")
	}))
	var said bytes.Buffer
	var connections atomic.Int32
	srv.Config.ErrorLog = log.New(&said, "", 0)
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	srv.Start()
	body := strings.Repeat("x", 10000)
	for range 50 {
		for path, want := range map[string]int{"/refuse": 400, "/read": 200} {
			answer, err := srv.Client().Post(srv.URL+path, "application/x-tar", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(answer.Body)
			if answer.Body.Close(); err != nil || answer.StatusCode != want || want == 200 && string(text) != body {
				t.Fatalf("%s: status %d, %d bytes, %v", path, answer.StatusCode, len(text), err)
			}
		}
	}
	srv.Close()
	if connections.Load() != 1 || said.Len() > 0 {
		t.Errorf("%d connections, and net/http says %s", connections.Load(), said.String())
	}
}
