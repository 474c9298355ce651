package api

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

// tarOf is an archive of regular files.
func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Uid: 7, Gid: 8}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// untar returns the content of regular files and the headers of all entries.
func untar(t *testing.T, data []byte) (map[string]string, map[string]*tar.Header) {
	t.Helper()
	files, headers := map[string]string{}, map[string]*tar.Header{}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		headers[h.Name] = h
		if h.Typeflag == tar.TypeReg {
			files[h.Name] = string(content)
		}
	}
}

// files calls every operation on the files of containers, and asks wrongly.
func (p *pierd) files() {
	id := p.create("filed", sleeper())
	for _, running := range []bool{false, true} {
		if running {
			p.want(204, "POST", "/containers/filed/start", nil, nil)
		}
		data := tarOf(p.t, map[string]string{"d/one": "1", "d/two": "22"})
		p.want(200, "PUT", "/containers/filed/archive?path=/home", bytes.NewReader(data), nil)
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(tarOf(p.t, map[string]string{"zipped": "z"}))
		_ = z.Close()
		p.want(200, "PUT", "/containers/filed/archive?path=home/&copyUIDGID=1", &packed, nil)

		a := p.want(200, "HEAD", "/containers/filed/archive?path=/home/d/two", nil, nil)
		raw, err := base64.StdEncoding.DecodeString(a.header.Get("X-Docker-Container-Path-Stat"))
		var stat struct {
			Name string
			Size int64
			Mode uint32
		}
		if err != nil || json.Unmarshal(raw, &stat) != nil || stat.Name != "two" || stat.Size != 2 || stat.Mode != 0o644 {
			p.t.Errorf("stat = %s %v", raw, err)
		}
		files, headers := untar(p.t, p.want(200, "GET", "/containers/filed/archive?path=/home/d", nil, nil).body)
		if len(headers) != 3 || files["d/one"] != "1" || files["d/two"] != "22" || headers["d/one"].Uid != 7 || headers["d/one"].Gid != 8 {
			p.t.Errorf("archive = %v %v", files, headers)
		}
		matched := p.want(200, "GET", "/containers/filed/archive?path=/home/d/t*&glob=1", nil, nil)
		if files, headers := untar(p.t, matched.body); len(headers) != 1 || files["two"] != "22" || matched.header.Get("Pier-Matches") != "1" {
			p.t.Errorf("a pattern = %v %v", matched.header, headers)
		}
		p.want(404, "GET", "/containers/filed/archive?path=/home/d/t*", nil, nil)
		if a := p.want(404, "GET", "/containers/filed/archive?path=/home/d/x*&glob=1", nil, nil); a.message() != "No file matches /home/d/x* in container filed" {
			p.t.Errorf("message = %q", a.message())
		}
		for _, more := range []string{"", "&glob=1"} { // what is in /dev while it runs is no work of the container's
			_, headers := untar(p.t, p.want(200, "GET", "/containers/filed/archive?path=/"+more, nil, nil).body)
			for name := range headers {
				if running && strings.Contains(name, "dev/") && !strings.HasSuffix(name, "dev/") {
					p.t.Errorf("all of a running container%s holds %s", more, name)
				}
			}
		}
		p.want(200, "PUT", "/containers/filed/archive?path=/home&chown=3:4&chmod=go-r", bytes.NewReader(tarOf(p.t, map[string]string{"own": "3"})), nil)
		_, headers = untar(p.t, p.want(200, "GET", "/containers/filed/archive?path=/home/own", nil, nil).body)
		if own := headers["own"]; own == nil || own.Uid != 3 || own.Gid != 4 || own.Mode != 0o600 {
			p.t.Errorf("with an owner and a mode: %+v", own)
		}
		p.want(400, "PUT", "/containers/filed/archive?path=/home&chown=3:4&copyUIDGID=1", bytes.NewReader(data), nil)
		missing := p.send("HEAD", "/containers/filed/archive?path=/none", nil) // an answer without a body
		if _ = missing.Body.Close(); missing.StatusCode != 404 {
			p.t.Errorf("HEAD of nothing = %d", missing.StatusCode)
		}
		if a := p.want(404, "GET", "/containers/filed/archive?path=/none", nil, nil); a.message() != "Could not find the file /none in container filed" {
			p.t.Errorf("message = %q", a.message())
		}
		p.want(404, "GET", "/containers/filed/archive?path=/proc/1/environ", nil, nil)
		p.want(404, "PUT", "/containers/filed/archive?path=/none", bytes.NewReader(data), nil)
		p.want(400, "PUT", "/containers/filed/archive?path=/home/d/one", bytes.NewReader(data), nil)
		p.want(400, "PUT", "/containers/filed/archive?path=/home", bytes.NewReader(bytes.Repeat([]byte("no tar "), 200)), nil)
		p.want(400, "PUT", "/containers/filed/archive?path=/home&noOverwriteDirNonDir=1", bytes.NewReader(tarOf(p.t, map[string]string{"d": "file"})), nil)
		p.want(400, "GET", "/containers/filed/archive", nil, nil)

		var changes []struct {
			Kind int
			Path string
		}
		p.want(200, "GET", "/containers/filed/changes", nil, &changes)
		if len(changes) != 6 || changes[0].Path != "/home" || changes[0].Kind != 0 || changes[1].Path != "/home/d" || changes[1].Kind != 1 {
			p.t.Errorf("changes = %+v", changes)
		}
		files, _ = untar(p.t, p.want(200, "GET", "/containers/filed/export", nil, nil).body)
		if files["home/d/one"] != "1" || files["home/zipped"] != "z" {
			p.t.Errorf("export lacks what was written")
		}
	}
	for _, path := range []string{"archive?path=/", "export", "changes"} {
		p.want(404, "GET", "/containers/none/"+path, nil, nil)
	}
	var made struct{ Id string }
	p.want(201, "POST", "/commit?container="+id+"&repo=made&tag=1&comment=why&author=me&changes="+"ENV%20A=b", object{"Labels": object{"l": "v"}}, &made)
	var image struct {
		Author, Comment string
		Config          struct {
			Env, Cmd []string
			Labels   map[string]string
		}
	}
	p.want(200, "GET", "/images/made:1/json", nil, &image)
	if image.Author != "me" || image.Config.Labels["l"] != "v" || len(image.Config.Cmd) != 2 || image.Config.Env[len(image.Config.Env)-1] != "A=b" {
		p.t.Errorf("image = %+v", image)
	}
	var c struct{ State struct{ Status string } }
	p.want(200, "GET", "/containers/filed/json", nil, &c)
	if c.State.Status != "running" {
		p.t.Errorf("after the commit the container is %s", c.State.Status)
	}
	p.want(200, "DELETE", "/images/"+made.Id+"?force=1", nil, nil)
	p.want(404, "POST", "/commit?container=none", nil, nil)
	p.want(400, "POST", "/commit", object{}, nil)
	p.want(400, "POST", "/commit?container=filed&changes=RUN%20x", nil, nil)
	p.want(400, "POST", "/commit?container=filed&repo=UPPER", nil, nil)
}
