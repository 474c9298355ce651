package contexts

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func open(t *testing.T) (Store, string) {
	dir := t.TempDir()
	return Open(func(name string) string { return map[string]string{"DOCKER_CONFIG": dir}[name] }), dir
}

func TestExportAndImport(t *testing.T) {
	s, _ := open(t)
	c := Context{Name: "far", Metadata: Metadata{Description: "d"}, Endpoints: map[string]Endpoint{Engine: {Host: "tcp://far:2376", SkipTLSVerify: true}}}
	if err := s.Put(c, map[string][]byte{"ca.pem": []byte("authority"), "key.pem": []byte("secret")}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(s.TLS("far"), Engine, "key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	var archive bytes.Buffer
	if err := s.Export("far", &archive); err != nil {
		t.Fatal(err)
	}
	if err := s.Import("near", bytes.NewReader(archive.Bytes())); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get("near")
	files, _ := s.Files("near")
	if err != nil || got.Endpoints[Engine] != c.Endpoints[Engine] || got.Metadata != c.Metadata || string(files["key.pem"]) != "secret" || len(files) != 2 {
		t.Errorf("%+v, %q, %v", got, files, err)
	}
	if err := s.Import("near", bytes.NewReader(archive.Bytes())); err == nil {
		t.Error("imported over one that is there")
	}
	if err := s.Put(c, map[string][]byte{}); err != nil {
		t.Fatal(err)
	}
	if files, _ := s.Files("far"); len(files) != 0 {
		t.Errorf("files that were taken away: %q", files)
	}
	if err := s.Remove("near"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.TLS("near")); !os.IsNotExist(err) {
		t.Errorf("files of a context that is gone: %v", err)
	}
}

// What else an archive holds makes nothing, nowhere.
func TestHostileArchives(t *testing.T) {
	meta := tar.Header{Name: "meta.json", Typeflag: tar.TypeReg}
	for name, h := range map[string]tar.Header{
		"outside":  {Name: "../../evil", Typeflag: tar.TypeReg},
		"absolute": {Name: "/etc/evil", Typeflag: tar.TypeReg},
		"in tls":   {Name: "tls/docker/../../../evil.pem", Typeflag: tar.TypeReg},
		"a link":   {Name: "tls/docker/ca.pem", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		"unknown":  {Name: "tls/docker/other.pem", Typeflag: tar.TypeReg},
		"too long": {Name: "tls/docker/ca.pem", Typeflag: tar.TypeReg, Size: maxFile + 1},
	} {
		s, dir := open(t)
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		body := []byte(`{"Name":"x"}`)
		meta.Size = int64(len(body))
		_ = w.WriteHeader(&meta)
		_, _ = w.Write(body)
		_ = w.WriteHeader(&h)
		_, _ = w.Write(make([]byte, h.Size))
		_ = w.Close()
		if err := s.Import("bad", &archive); err == nil {
			t.Errorf("%s: imported", name)
		}
		_ = filepath.WalkDir(filepath.Dir(dir), func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				t.Errorf("%s: %s was made", name, path)
			}
			return nil
		})
	}
	s, _ := open(t)
	if err := s.Import("none", strings.NewReader("no archive")); err == nil {
		t.Error("junk was imported")
	}
}

// config.json belongs to others too: its fields stay, and so does a link to it.
func TestUseKeepsTheRest(t *testing.T) {
	s, dir := open(t)
	real := filepath.Join(dir, "real.json")
	if err := os.WriteFile(real, []byte(`{"auths":{"x":{"auth":"eA=="}},"psFormat":"table"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.json", filepath.Join(dir, "config.json")); err != nil {
		t.Fatal(err)
	}
	if err := s.Use("nosuch"); err == nil {
		t.Error("a context that does not exist is in use")
	}
	if err := s.Put(Context{Name: "far"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Use("far"); err != nil || s.Current() != "far" {
		t.Errorf("%v, %s", err, s.Current())
	}
	data, err := os.ReadFile(real)
	if err != nil || !strings.Contains(string(data), `"psFormat": "table"`) || !strings.Contains(string(data), `"eA=="`) {
		t.Errorf("%s, %v", data, err)
	}
	if err := s.Use(Default); err != nil || s.Current() != Default {
		t.Errorf("%v, %s", err, s.Current())
	}
	for _, name := range []string{"", "default", "x", "../up", "a b", ".hidden"} {
		if CheckName(name) == nil {
			t.Errorf("%q is a name", name)
		}
	}
}
