package packing

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// folder makes files of "name" or "name=content"; a name that ends in / is a folder.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func names(t *testing.T, r io.ReadCloser) []string {
	t.Helper()
	defer r.Close()
	var out []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			t.Errorf("%s carries its owner", h.Name)
		}
		out = append(out, h.Name)
	}
}

func TestFolder(t *testing.T) {
	all := []string{"Dockerfile", "a.txt", "b.log", "node_modules/x/y", "sub/c.txt", "sub/d.log"}
	tests := map[string]struct{ ignore, want string }{
		"nothing ignored":   {"", "Dockerfile a.txt b.log node_modules/ node_modules/x/ node_modules/x/y sub/ sub/c.txt sub/d.log"},
		"patterns":          {"*.log\nnode_modules\n", ".dockerignore Dockerfile a.txt sub/ sub/c.txt sub/d.log"},
		"any depth":         {"**/*.log\nnode_modules", ".dockerignore Dockerfile a.txt sub/ sub/c.txt"},
		"exception":         {"*\n!sub/c.txt\n", ".dockerignore Dockerfile sub/c.txt"},
		"always the recipe": {"*\n", ".dockerignore Dockerfile"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			files := all
			if test.ignore != "" {
				files = append(slices.Clone(all), ".dockerignore="+test.ignore)
			}
			r, dockerfile, err := Folder(folder(t, files...), "", nil)
			if err != nil || dockerfile != "Dockerfile" {
				t.Fatal(dockerfile, err)
			}
			if got := strings.Join(names(t, r), " "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestDockerfile(t *testing.T) {
	dir := folder(t, "Dockerfile", "docker/Dev", "docker/Dev.dockerignore=a", "a", ".dockerignore=docker")
	r, name, err := Folder(dir, filepath.Join(dir, "docker/Dev"), nil)
	if err != nil || name != "docker/Dev" {
		t.Fatal(name, err)
	}
	if got := names(t, r); slices.Contains(got, "a") || !slices.Contains(got, "docker/Dev") {
		t.Errorf("its own ignore file does not count: %v", got)
	}
	r, name, err = Folder(dir, "-", strings.NewReader("FROM scratch"))
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, r); !slices.Contains(got, name) || slices.Contains(got, "docker/Dev") {
		t.Errorf("from standard input: %s in %v", name, got)
	}
	outside := filepath.Join(folder(t, "Other=FROM scratch"), "Other")
	r, name, err = Folder(dir, outside, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, r); !slices.Contains(got, name) {
		t.Errorf("from outside: %s not in %v", name, got)
	}
	for _, file := range []string{"nosuch", filepath.Join(dir, "nosuch")} {
		if _, _, err := Folder(dir, file, nil); err == nil {
			t.Errorf("%s: no error", file)
		}
	}
	if _, _, err := Folder(folder(t, "a"), "", nil); err == nil || !strings.Contains(err.Error(), "no Dockerfile") {
		t.Errorf("a folder without: %v", err)
	}
	if _, _, err := Folder(dir, "-", strings.NewReader(strings.Repeat("x", maxDockerfile+1))); err == nil {
		t.Error("an endless Dockerfile is no error")
	}
}
