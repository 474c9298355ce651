package security

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestContainerSecrets: what a container was given as a secret stands in one file of the host, for as long as the
// container is there, and with --rm in none; no log, event, answer, record, image, archive or process tells it.
func TestContainerSecrets(t *testing.T) {
	w := start(t, "--debug")
	const word = "sesame-of-the-forty"
	encoded := base64.StdEncoding.EncodeToString([]byte(word))
	tells := func(s string) bool { return strings.Contains(s, word) || strings.Contains(s, encoded) }
	made := func(name string, rm bool) string {
		body := object{"Image": "busybox", "Cmd": []string{"sleep", "1000"}, "HostConfig": object{"NetworkMode": "none", "AutoRemove": rm,
			"PierSecrets": []object{{"Target": "word", "Content": encoded}}}}
		status, answer := w.request("POST", "/containers/create?name="+name, body)
		if status != 201 || tells(answer) || strings.Contains(answer, "ignored") {
			t.Fatalf("create: %d %s", status, answer)
		}
		if status, answer := w.request("POST", "/containers/"+name+"/start", nil); status != 204 {
			t.Fatalf("start: %d %s", status, answer)
		}
		return w.pier("inspect", "-f", "{{.Id}}", name)
	}
	kept := made("kept", false)
	made("passing", true)
	for _, name := range []string{"kept", "passing"} {
		if got := w.pier("exec", name, "cat", "/run/secrets/word"); got != word {
			t.Errorf("%s reads %q", name, got)
		}
		for _, version := range []string{"/v1.56", "/v1.41"} {
			status, answer := w.request("GET", version+"/containers/"+name+"/json", nil)
			if status != 200 || tells(answer) || !strings.Contains(answer, `"PierSecrets":[{"Target":"/run/secrets/word"}]`) {
				t.Errorf("inspect: %d %s", status, answer)
			}
		}
		pid := w.pid(name)
		for _, one := range []int{pid, w.Pid(), w.Supervisor()} {
			for _, file := range []string{"environ", "cmdline"} {
				if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", one, file)); tells(string(b)) {
					t.Errorf("%s of process %d tells it", file, one)
				}
			}
		}
	}
	w.pier("commit", "kept", "copy")
	w.pier("save", "-o", filepath.Join(w.Dir, "copy.tar"), "copy")
	w.pier("export", "-o", filepath.Join(w.Dir, "export.tar"), "kept")
	if found, want := holders(t, w.Dir, word, encoded), []string{filepath.Join("data/containers", kept, "secrets/0")}; !slices.Equal(found, want) {
		t.Errorf("it stands in %q, want %q", found, want)
	}
	// Content of a wrong kind is not repeated either.
	for _, content := range []any{word, 1234567891, []string{word}, object{"a": word}} {
		status, answer := w.request("POST", "/containers/create", object{"Image": "busybox", "HostConfig": object{
			"PierSecrets": []object{{"Target": "word", "Content": content}}}})
		if status != 400 || tells(answer) || strings.Contains(answer, "1234567891") {
			t.Errorf("%v: %d %s", content, status, answer)
		}
	}
	w.pier("rm", "-f", "kept", "passing")
	w.Eventually("nothing to be left", func() error {
		if found := holders(t, w.Dir, word, encoded); len(found) > 0 {
			return fmt.Errorf("it stands in %q", found)
		}
		return nil
	})
	events := w.pier("events", "--since", "1", "--until", "0s")
	if log := w.Log(); tells(log) || tells(events) || !strings.Contains(events, "kept") {
		t.Errorf("the log or the events tell it, or nothing:\n%s\n%s", log, events)
	}
}

// holders are the files on the disk of dir that hold one of the words.
func holders(t *testing.T, dir string, words ...string) (found []string) {
	t.Helper()
	top, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	disk := top.Sys().(*syscall.Stat_t).Dev
	_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is going
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		if info.Sys().(*syscall.Stat_t).Dev != disk && e.IsDir() {
			return fs.SkipDir
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(name)
		for _, word := range words {
			if err == nil && bytes.Contains(data, []byte(word)) {
				rel, _ := filepath.Rel(dir, name)
				found = append(found, rel)
				return nil
			}
		}
		return nil
	})
	return found
}
