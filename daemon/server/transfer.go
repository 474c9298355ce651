package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/jsonstream"

	"pier/api/docker"
	"pier/daemon/image"
	"pier/daemon/registry"
	"pier/daemon/server/internal/imageconfig"
	"pier/lib/errkind"
)

// progress writes the lines of a stream whose status is decided by what happens first: an error before the first line
// is a proper answer, an error after it is a line.
type progress struct {
	w       http.ResponseWriter
	out     *flushWriter
	quiet   bool
	started bool
}

func newProgress(w http.ResponseWriter) *progress {
	return &progress{w: w, out: newFlushWriter(w)}
}

// send writes one line. A client that is gone is noticed by the request's context, not here.
func (p *progress) send(l docker.ProgressLine) {
	if !p.started {
		p.started = true
		p.w.Header().Set("Content-Type", "application/json")
		p.w.WriteHeader(http.StatusOK)
	}
	data, err := json.Marshal(l)
	if err != nil {
		return
	}
	_, _ = p.out.Write(append(data, '\r', '\n'))
}

// stream writes text that a terminal shows as it is.
func (p *progress) stream(text string) {
	p.send(docker.ProgressLine{Message: jsonstream.Message{Stream: text}})
}

// status writes a line about the item id, "" for none.
func (p *progress) status(id, text string) {
	p.send(docker.ProgressLine{Message: jsonstream.Message{ID: id, Status: text}})
}

// move writes the progress of one item in the form clients draw as a bar.
func (p *progress) move(m registry.Progress) {
	if p.quiet {
		return
	}
	l := docker.ProgressLine{Message: jsonstream.Message{ID: m.ID, Status: m.Status, Progress: &jsonstream.Progress{}}}
	if m.Total > 0 {
		l.Progress = &jsonstream.Progress{Current: m.Current, Total: m.Total}
		l.ProgressText = progressBar(m.Current, m.Total)
	} else if m.ID == "" {
		l.Progress = nil
	}
	p.send(l)
}

// end turns an error into what is still possible: the answer itself, or the last line.
func (p *progress) end(err error) error {
	if err == nil || !p.started {
		return err
	}
	// No code: clients exit with it, so it is for the exit codes of build steps alone.
	p.send(docker.ProgressLine{Message: jsonstream.Message{Error: &jsonstream.Error{Message: err.Error()}}, ErrorText: err.Error()})
	return nil
}

// progressBar is the bar of clients that do not draw their own.
func progressBar(current, total int64) string {
	const width = 50
	done := int(width * min(current, total) / total)
	bar := strings.Repeat("=", done)
	if done < width {
		bar += ">" + strings.Repeat(" ", width-done-1)
	}
	return fmt.Sprintf("[%s] %s/%s", bar, humanSize(current), humanSize(total))
}

// humanSize writes bytes with four digits and a decimal unit.
func humanSize(n int64) string {
	f, units := float64(n), []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for ; f >= 1000 && i < len(units)-1; i++ {
		f /= 1000
	}
	return fmt.Sprintf("%.4g%s", f, units[i])
}

// imageCreate serves POST /images/create: a pull (fromImage) or an import (fromSrc).
func (s *Server) imageCreate(w http.ResponseWriter, r *request) error {
	switch {
	case r.arg("fromImage") != "":
		return s.imagePull(w, r)
	case r.arg("fromSrc") == "-":
		return s.imageImport(w, r)
	case r.arg("fromSrc") != "":
		return errkind.New(errkind.Unsupported, "import from a URL is not supported: download it and send it as the body (fromSrc=-)")
	}
	return errkind.New(errkind.Invalid, "one of fromImage and fromSrc is needed")
}

func (s *Server) imagePull(w http.ResponseWriter, r *request) error {
	platform, err := r.platform()
	if err != nil {
		return err
	}
	ref := joinTag(r.arg("fromImage"), r.arg("tag"))
	p := newProgress(w)
	_, err = s.o.Images.Pull(r.Context(), ref, image.PullOptions{Platform: platform, Auth: r.Header.Get("X-Registry-Auth")}, p.move)
	return p.end(err)
}

func (s *Server) imageImport(w http.ResponseWriter, r *request) error {
	platform, err := r.platform()
	if err != nil {
		return err
	}
	var config dockerspec.DockerOCIImageConfig
	if err := imageconfig.Apply(&config, r.query["changes"]); err != nil {
		return err
	}
	o := image.ImportOptions{Message: r.arg("message"), Config: &config, Platform: platform}
	if o.Message == "" {
		o.Message = "Imported from " + r.arg("fromSrc")
	}
	if repo := r.arg("repo"); repo != "" {
		o.Ref = joinTag(repo, r.arg("tag"))
	}
	i, err := s.o.Images.Import(r.Context(), r.Body, o)
	if err != nil {
		return err
	}
	newProgress(w).status("", i.ID.String())
	return nil
}

// imageLoad serves POST /images/load.
func (s *Server) imageLoad(w http.ResponseWriter, r *request) error {
	p := newProgress(w)
	p.quiet = r.flagOr("quiet", true)
	names, err := s.o.Images.Load(r.Context(), r.Body, p.move)
	if err != nil {
		return p.end(err)
	}
	for _, name := range names {
		what := "Loaded image: "
		if strings.HasPrefix(name, "sha256:") {
			what = "Loaded image ID: "
		}
		p.stream(what + name + "\n")
	}
	if !p.started { // an archive without images
		return errkind.New(errkind.Invalid, "the archive holds no image")
	}
	return nil
}

// imageGet serves GET /images/{name}/get and GET /images/get?names=: one archive with all images asked for.
func (s *Server) imageGet(w http.ResponseWriter, r *request) error {
	refs := r.query["names"]
	if r.name != "" {
		refs = []string{r.name}
	}
	if len(refs) == 0 {
		return errkind.New(errkind.Invalid, "no image names given")
	}
	for _, ref := range refs { // so that a wrong name still gets a status
		if _, err := s.o.Images.Get(ref); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/x-tar")
	return s.o.Images.Save(r.Context(), w, refs)
}
