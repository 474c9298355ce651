package engine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"

	"pier/daemon/engine/internal/files"
	"pier/daemon/engine/internal/lifecycle"
	"pier/daemon/engine/internal/secrets"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/image"
	"pier/daemon/image/layer"
	"pier/lib/errkind"
)

// Files are the containers' files, seen from outside: with all volumes, binds and, while it runs, whatever else its
// processes see. A path in a container that does not exist is NotFound, in Docker's words.
type Files struct{ e *Engine }

// filesPatience is how long a start waits for those who read or write a container's files.
const filesPatience = 10 * time.Second

// view opens a container's files. The worker opens it, so that the container neither starts nor ends meanwhile.
func (e *Engine) view(ctx context.Context, ref string) (v *files.View, c *ctr, err error) {
	if c, err = e.index.Find(ref); err != nil {
		return nil, nil, err
	}
	for range 100 {
		alive := false
		err = c.do(context.WithoutCancel(ctx), func() (err error) {
			r := c.row()
			if alive = r.Life.State.Alive(); alive {
				if v, err = c.files.Running(ctx, r.Pid, r.StartTime); err == nil {
					v.NoDev = !settings.Mounted(r.Mounts, "/dev")
				}
				if err == nil && len(r.Secrets) > 0 {
					if v.Hidden, err = secrets.Device(e.dir(c.id)); err != nil {
						v.Close()
					}
				}
				return err
			}
			c.released.Wait() // its last mounts
			v, err = c.files.Still(ctx, func() (files.Still, error) { return e.still(r) })
			return err
		})
		if !alive || !errkind.Is(err, errkind.NotFound) {
			break
		}
		time.Sleep(10 * time.Millisecond) // the process has just ended, and its end is about to be recorded, or has been
	}
	return v, c, err
}

func (e *Engine) still(r *row) (files.Still, error) {
	root, err := e.mountRoot(r, true)
	if err != nil {
		return files.Still{}, err
	}
	undo := func() { _ = e.mounts.Unmount(r.ID, r.Mounts) }
	mounts, err := e.mounts.Mount(context.WithoutCancel(e.ctx), r.ID, r.Mounts, root, !r.Life.Ran)
	if err != nil {
		undo()
		_ = root.Close()
		return files.Still{}, err
	}
	return files.Still{Root: root, Mounts: mounts, Files: e.netfiles(r.ID).Binds(), ReadOnly: r.Host.ReadonlyRootfs, Undo: undo}, nil
}

// fileError words what went wrong at name.
func fileError(err error, ref, name string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errkind.New(errkind.NotFound, "Could not find the file %s in container %s", name, ref)
	}
	return files.Blame(err)
}

// Stat describes one path, see files.View.Stat.
func (f *Files) Stat(ctx context.Context, ref, name string) (container.PathStat, error) {
	v, _, err := f.e.view(ctx, ref)
	if err != nil {
		return container.PathStat{}, err
	}
	defer v.Close()
	s, err := v.Stat(name)
	return s, fileError(err, ref, name)
}

// Read returns a tar of what is at name: the folder with all that is in it, under its own name, or one file. The caller
// closes it. Where the container is started or removed meanwhile, reading fails once that has waited for a while.
func (f *Files) Read(ctx context.Context, ref, name string) (container.PathStat, io.ReadCloser, error) {
	v, c, err := f.e.view(ctx, ref)
	if err != nil {
		return container.PathStat{}, nil, err
	}
	s, err := v.Stat(name)
	if err != nil {
		v.Close()
		return s, nil, fileError(err, ref, name)
	}
	f.e.say(c, "archive-path", nil)
	return s, v.Pipe(files.PackOptions{Source: files.Clean(name), Name: s.Name}), nil
}

// Match is Read of all that a pattern stands for, see files.View.Expand, each under its own name. stats is one for each; more
// than one are in the archive side by side. NotFound where there is nothing.
func (f *Files) Match(ctx context.Context, ref, pattern string, follow bool) (stats []container.PathStat, archive io.ReadCloser, err error) {
	v, c, err := f.e.view(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	found, err := v.Expand(pattern, follow)
	if err == nil && len(found) == 0 {
		err = errkind.New(errkind.NotFound, "No file matches %s in container %s", pattern, ref)
	}
	if err != nil {
		v.Close()
		return nil, nil, fileError(err, ref, pattern)
	}
	for _, m := range found {
		stats = append(stats, m.Stat)
	}
	f.e.say(c, "archive-path", nil)
	return stats, v.PipeAll(found), nil
}

// WriteOptions tune Write.
type WriteOptions struct {
	KeepKinds bool   // refuse to replace a folder by something else, or something else by a folder
	AsUser    bool   // give everything to the container's user, where it has one
	Owner     string // give everything to "user[:group]" of the container's own files; "" leaves owners to the rest
	Mode      string // give everything this mode, see files.Mode; "": that of the archive
}

// Write unpacks a tar, compressed or not, in the folder name, which must exist (Invalid: it is none; it lies on a file
// system that is read-only there).
func (f *Files) Write(ctx context.Context, ref, name string, archive io.Reader, o WriteOptions) error {
	v, c, err := f.e.view(ctx, ref)
	if err != nil {
		return err
	}
	defer v.Close()
	dir, readOnly, err := files.Folder(v.Root, name)
	if err != nil {
		return fileError(err, ref, name)
	}
	r := c.row()
	switch {
	case readOnly && settings.Mounted(r.Mounts, dir):
		return errkind.New(errkind.Invalid, "mounted volume is marked read-only")
	case readOnly:
		return errkind.New(errkind.Invalid, "container rootfs is marked read-only")
	}
	unpack := files.UnpackOptions{KeepKinds: o.KeepKinds}
	owner := o.Owner
	if o.AsUser && owner == "" {
		owner = r.Config.User
	}
	if owner != "" {
		if unpack.Owner, err = files.User(v.Root, owner); err != nil {
			return err
		}
	}
	if o.Mode != "" {
		if unpack.Mode, err = files.Mode(o.Mode); err != nil {
			return err
		}
	}
	if err := v.Unpack(archive, dir, unpack); err != nil {
		return err
	}
	f.e.say(c, "extract-to-dir", nil)
	return nil
}

// Export writes a tar of the container's own file system, without what is mounted in it.
func (f *Files) Export(ctx context.Context, ref string, w io.Writer) error {
	e := f.e
	c, err := e.index.Find(ref)
	if err != nil {
		return err
	}
	up, err := e.o.Layers.Writable(c.id)
	if err != nil {
		return err
	}
	// A second overlay that only reads: of the same folders, the container's own among them.
	root, err := e.o.Layers.Mount(c.row().Chain, nil, layer.MountOptions{ReadOnly: true, ExtraLowers: []string{up.Upper}})
	if err != nil {
		return err
	}
	defer root.Close()
	e.say(c, "export", nil)
	return files.Export(ctx, w, root)
}

// Changes lists what the container changed of its image.
func (f *Files) Changes(ctx context.Context, ref string) ([]layer.Change, error) {
	c, err := f.e.index.Find(ref)
	if err != nil {
		return nil, err
	}
	up, err := f.e.o.Layers.Writable(c.id)
	if err != nil {
		return nil, err
	}
	return layer.Changes(ctx, f.e.o.Layers, c.row().Chain, up.Upper, c.row().Placeholders())
}

// CommitOptions describe the image that Commit makes.
type CommitOptions struct {
	Ref             string // name of the image, "" for none
	Author, Comment string
	Pause           bool // freeze the container while its files are copied
	Config          dockerspec.DockerOCIImageConfig
}

// Commit makes an image of the container's own file system.
func (f *Files) Commit(ctx context.Context, ref string, o CommitOptions) (digest.Digest, error) {
	e := f.e
	c, err := e.index.Find(ref)
	if err != nil {
		return "", err
	}
	if err := settings.CheckImage(&o.Config); err != nil {
		return "", err
	}
	r := c.row()
	changes, err := f.copyUpper(ctx, c, o.Pause)
	if err != nil {
		return "", err
	}
	img, err := e.o.Images.Commit(ctx, changes, image.CommitOptions{
		Parent: r.Image, Config: o.Config, Ref: o.Ref, Author: o.Author, Comment: o.Comment, CreatedBy: strings.Join(r.Config.Cmd, " "),
	})
	if err != nil {
		return "", err
	}
	e.say(c, "commit", map[string]string{"comment": o.Comment, "imageID": img.ID.String(), "imageRef": o.Ref})
	return img.ID, nil
}

// copyUpper copies the container's changes, frozen for no longer than that takes.
func (f *Files) copyUpper(ctx context.Context, c *ctr, pause bool) (*layer.Copy, error) {
	e := f.e
	up, err := e.o.Layers.Writable(c.id)
	if err != nil {
		return nil, err
	}
	if pause && c.row().Life.State == lifecycle.Running {
		switch err := e.Containers().feed(ctx, c.id, lifecycle.Input{Kind: lifecycle.Pause, Brief: true}); {
		case err == nil:
			defer func() { _ = e.Containers().Unpause(context.WithoutCancel(ctx), c.id) }()
		case c.row().Life.State == lifecycle.Running:
			return nil, err
		}
	}
	return layer.CopyUpper(ctx, e.o.Layers, c.row().Chain, up.Upper, c.row().Placeholders())
}
