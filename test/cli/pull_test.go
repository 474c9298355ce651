package cli

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A pull as a user sees it on a terminal 60 characters wide, and what a credential helper adds to it. The daemon is made
// up here: what counts is what pier sends and shows.
func TestPullOnATerminal(t *testing.T) {
	var sent string
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := base64.URLEncoding.DecodeString(r.Header.Get("X-Registry-Auth"))
		sent = string(data)
		for _, line := range []string{
			`{"status":"Pulling from app","id":"latest"}`, `{"status":"Pulling fs layer","id":"aaaaaaaaaaaa"}`, `{"status":"Pulling fs layer","id":"bbbbbbbbbbbb"}`,
			`{"status":"Downloading","progressDetail":{"current":2000000,"total":4000000},"id":"aaaaaaaaaaaa"}`,
			`{"status":"Downloading","progressDetail":{"current":4000000,"total":4000000},"id":"bbbbbbbbbbbb"}`,
			`{"status":"Pull complete","id":"aaaaaaaaaaaa"}`, `{"status":"Pull complete","id":"bbbbbbbbbbbb"}`, `{"status":"Status: Downloaded newer image"}`,
		} {
			fmt.Fprintln(w, line)
		}
	}))
	defer daemon.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{"config.json": `{"credHelpers":{"registry.example":"fake"},"auths":{"other.example":{"auth":"bWU6cHc="}}}`,
		"docker-credential-fake": "#!/bin/sh\nread -r host\n[ $1 = get ] && echo '{\"Username\":\"me\",\"Secret\":\"of '$host'\"}'\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("script", "-qec", "stty rows 24 cols 60; pier pull registry.example/app", "/dev/null")
	cmd.Env = append(os.Environ(), "PIER_HOST="+strings.Replace(daemon.URL, "http", "tcp", 1), "DOCKER_CONFIG="+dir, "PATH="+bin+":"+dir+":"+os.Getenv("PATH"), "TERM=xterm")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var auth struct{ Username, Password, ServerAddress string }
	if err := json.Unmarshal([]byte(sent), &auth); err != nil || auth.Username != "me" || auth.Password != "of registry.example" || auth.ServerAddress != "registry.example" {
		t.Errorf("credentials sent: %s (%v)", sent, err)
	}
	screen := play(string(out))
	want := "latest: Pulling from app\naaaaaaaaaaaa: Pull complete\nbbbbbbbbbbbb: Pull complete\nStatus: Downloaded newer image"
	if got := strings.Join(screen, "\n"); got != want {
		t.Errorf("on the screen is\n%s\nwant\n%s", got, want)
	}
	for _, bar := range []string{"aaaaaaaaaaaa: Downloading [=========>         ]      2MB/4MB", "bbbbbbbbbbbb: Downloading [===================]      4MB/4MB"} {
		if !strings.Contains(string(out), bar) {
			t.Errorf("no %q in %q", bar, out)
		}
	}
	for _, piece := range regexp.MustCompile(`\x1b\[[0-9?]*[a-zA-Z]|[\r\n]`).Split(string(out), -1) {
		if len(piece) > 60 {
			t.Errorf("%q is wider than the terminal", piece)
		}
	}
}

// play draws what a program wrote on a screen, as far as progress uses one: lines, cursor up and down, erasing a line.
func play(out string) []string {
	lines := []string{""}
	at := 0
	for _, token := range regexp.MustCompile(`\x1b\[\d*[A-Za-z]|\r|\n|[^\x1b\r\n]+`).FindAllString(out, -1) {
		var n int
		_, _ = fmt.Sscanf(token, "\x1b[%d", &n)
		switch {
		case token == "\n":
			if at++; at == len(lines) {
				lines = append(lines, "")
			}
		case token == "\r":
		case strings.HasSuffix(token, "A") && token[0] == 0x1b:
			at = max(at-n, 0)
		case strings.HasSuffix(token, "B") && token[0] == 0x1b:
			at = min(at+n, len(lines)-1)
		case token[0] == 0x1b:
			lines[at] = ""
		default:
			lines[at] += token
		}
	}
	return strings.Split(strings.TrimSpace(strings.Join(lines, "\n")), "\n")
}
