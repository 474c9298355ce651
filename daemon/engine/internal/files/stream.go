package files

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path"

	mode "github.com/tonistiigi/dchapes-mode"

	"pier/kernel/fsroot"
	"pier/kernel/ids"
	"pier/lib/errkind"
)

// Pipe packs in the background and gives the view back afterwards. Whoever reads slowly, or not at all, holds the view
// no longer than its context lasts. The caller closes what is returned.
func (v *View) Pipe(sources ...PackOptions) io.ReadCloser {
	for i := range sources {
		sources[i].Hidden = v.Hidden
		if v.NoDev && path.Clean(sources[i].Source) == "/" {
			sources[i].Hollow = []string{"dev"}
		}
	}
	r, w := io.Pipe()
	unhook := context.AfterFunc(v.ctx, func() { _ = w.CloseWithError(context.Cause(v.ctx)) })
	go func() {
		defer v.Close()
		defer unhook()
		_ = w.CloseWithError(Pack(v.ctx, w, v.Root, sources...))
	}()
	return r
}

// Unpack is Unpack in the view's root. An archive that stops coming holds the view no longer than its context lasts.
func (v *View) Unpack(archive io.Reader, dir string, o UnpackOptions) error {
	r, w := io.Pipe()
	defer r.Close()
	unhook := context.AfterFunc(v.ctx, func() { _ = w.CloseWithError(context.Cause(v.ctx)) })
	defer unhook()
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{archive}, make([]byte, copyBuffer))
		_ = w.CloseWithError(err)
	}()
	return Unpack(v.ctx, r, v.Root, dir, o)
}

// Export writes a tar of all that is in root, an open folder, with times as those of image layers.
func Export(ctx context.Context, w io.Writer, root *os.File) error {
	return Pack(ctx, w, fsroot.FromFile(root), PackOptions{Source: "/", Seconds: true})
}

// Folder finds the folder name, symbolic links followed, and tells whether nothing can be written to it. Invalid where
// it is something else.
func Folder(root *fsroot.Root, name string) (real string, readOnly bool, err error) {
	f, err := root.OpenFile(path.Join("/", name), fsroot.OPath, 0)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", false, err
	}
	if !fi.IsDir() {
		return "", false, errkind.New(errkind.Invalid, "extraction point is not a directory")
	}
	in, err := fsroot.FSOf(f)
	if err != nil {
		return "", false, err
	}
	real, err = root.Resolve(name)
	return real, in.ReadOnly, err
}

// Mode reads a mode as chmod(1) and COPY --chmod take it: octal, or words such as "u=rwX,go=rX".
func Mode(text string) (func(fs.FileMode) fs.FileMode, error) {
	set, err := mode.ParseWithUmask(text, 0)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "mode %q: want octal digits or words such as u=rwX,go=rX", text)
	}
	return set.Apply, nil
}

// User finds the owner that user[:group] means in root.
func User(root *fsroot.Root, user string) (*Owner, error) {
	u, err := ids.Resolve(root, user, nil)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "%w", err)
	}
	return &Owner{UID: u.UID, GID: u.GID}, nil
}
