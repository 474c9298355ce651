package server

import (
	"bytes"
	"fmt"
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

// A command line may be one string, as the API's description says, whatever else is in the body.
func TestCommandAsString(t *testing.T) {
	for body, want := range map[string]string{
		`{"Cmd":"true"}`:                                   `[true] [] []`,
		`{"Cmd":"a b","Entrypoint":"c\"d"}`:                `[a b] [c"d] []`,
		`{"Entrypoint":"","cmd":["x"]}`:                    `[x] [] []`,
		`{"Odd":1,"Cmd":"x"}`:                              `[x] [] [Odd]`,
		`{"Cmd":"x","Odd":1,"HostConfig":{"Odd":{"a":1}}}`: `[x] [] [HostConfig.Odd Odd]`,
		`{"Cmd":5}`:               `invalid JSON: field Cmd is a JSON number, want a list`,
		`{"Cmd":"x","Env":"A=1"}`: `invalid JSON: field Env is a JSON string, want a list`,
		`{"Env":"A=1","Cmd":"x"}`: `invalid JSON: field Env is a JSON string, want a list`,
		`{"Cmd":"x"} y`:           `invalid JSON: field Cmd is a JSON string, want a list`,
		`{"HostConfig":{"CapAdd":"x"},"Healthcheck":{"Test":"x"}}`: `invalid JSON: field HostConfig.CapAdd is a JSON string, want a list`,
	} {
		r := &request{Request: httptest.NewRequest("POST", "/", strings.NewReader(body))}
		var v legacyCreate
		got := ""
		if err := r.decode(httptest.NewRecorder(), &v, false); err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprint(v.Cmd, v.Entrypoint, r.ignored)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}
