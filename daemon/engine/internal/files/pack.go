package files

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"pier/kernel/copyfile"
	"pier/kernel/fsroot"
	"pier/lib/ctxio"
	"pier/lib/errkind"
	"pier/lib/tarheader"
)

// PackOptions tune Pack.
type PackOptions struct {
	Source string // what to pack; ending with "/" or "/." it is followed where it is a symbolic link
	// Name is what the source is called in the archive. "" leaves the folder itself out and packs what is in it.
	Name string
	// Seconds cuts the times to seconds, as those of image layers are.
	Seconds bool
	// Hollow are folders, by their place below Source, that are packed without their content.
	Hollow []string
	// Hidden is a device whose files are left out; 0: none. As Source they are Forbidden.
	Hidden uint64
}

// maxDepth is how deep the folders of an archive may be nested: each costs a descriptor.
const maxDepth = 1000

const (
	copyBuffer = 128 << 10
)

// Pack writes a tar of what is at the sources: owners by number, modes, times, symbolic and hard links, devices, extended
// attributes; holes as zeros. Sockets are left out, so is what vanishes meanwhile (of several sources even one of these),
// and the content of the kernel's own file systems. A file that becomes shorter while it is read is filled up with zeros.
func Pack(ctx context.Context, w io.Writer, root *fsroot.Root, sources ...PackOptions) error {
	out := bufio.NewWriterSize(w, copyBuffer)
	p := &packer{ctx: ctx, tw: tar.NewWriter(out), links: map[inode]string{}, buf: make([]byte, copyBuffer)}
	for _, o := range sources {
		p.o = o
		if err := p.source(root); err != nil && (len(sources) == 1 || !errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	if err := p.tw.Close(); err != nil {
		return err
	}
	return out.Flush()
}

type packer struct {
	ctx   context.Context
	o     PackOptions // of the source that is packed now
	tw    *tar.Writer
	links map[inode]string // of files with several names: the first one packed
	buf   []byte
}

func (p *packer) source(root *fsroot.Root) error {
	node, err := root.At(p.o.Source)
	if err != nil {
		return err
	}
	defer node.Close()
	return p.node(node, p.o.Name, "", 0, 0)
}

// inode names a file that may have several names.
type inode struct{ dev, ino uint64 }

// node packs one entry as name; place is where it lies below the source, dev the device of the folder it lies in.
func (p *packer) node(n *fsroot.Node, name, place string, depth int, dev uint64) error {
	info, err := n.Stat()
	if err != nil {
		return err
	}
	attr := fsroot.AttrOf(info)
	if p.o.Hidden != 0 && attr.Dev == p.o.Hidden {
		if depth == 0 {
			return errHidden(p.o.Source)
		}
		return nil
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil
	}
	if name != "" {
		h, err := header(n, info, name)
		if err != nil {
			return err
		}
		if p.o.Seconds {
			h.ModTime = h.ModTime.Truncate(time.Second)
		}
		if info.Mode().IsRegular() {
			return p.regular(n, h, attr)
		}
		if err := p.tw.WriteHeader(h); err != nil {
			return err
		}
	}
	if !info.IsDir() || slices.Contains(p.o.Hollow, place) {
		return nil
	}
	if depth == maxDepth {
		return errkind.New(errkind.Unsupported, "%s: folders are nested deeper than %d levels", name, maxDepth)
	}
	return p.folder(n, name, place, depth, attr.Dev != dev, attr.Dev)
}

func (p *packer) folder(n *fsroot.Node, name, place string, depth int, crossed bool, dev uint64) error {
	f, err := n.Open(os.O_RDONLY | fsroot.ODirectory)
	if err != nil {
		return err
	}
	defer f.Close()
	if crossed {
		if in, err := fsroot.FSOf(f); err != nil || in.Kernel {
			return err
		}
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	dir := fsroot.FromFile(f)
	for _, base := range names {
		if err := p.ctx.Err(); err != nil {
			return context.Cause(p.ctx)
		}
		child, err := dir.At(base)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = p.node(child, join(name, base), path.Join(place, base), depth+1, dev)
		_ = child.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// join keeps a leading "./", with which archives of "dir/." begin.
func join(dir, base string) string {
	if dir == "" {
		return base
	}
	return strings.TrimSuffix(dir, "/") + "/" + base
}

func header(n *fsroot.Node, info fs.FileInfo, name string) (*tar.Header, error) {
	target := ""
	var err error
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = n.Readlink(); err != nil {
			return nil, err
		}
	}
	h, err := tarheader.Of(info, name, target)
	if err != nil || info.Mode()&fs.ModeSymlink != 0 {
		return h, err
	}
	attrs, err := n.Xattrs()
	if err != nil {
		return nil, err
	}
	for name, value := range attrs {
		if portable(name) {
			tarheader.SetXattr(h, name, value)
		}
	}
	return h, nil
}

// portable tells the extended attributes that mean the same in another place: those of users, capabilities, access lists.
func portable(name string) bool {
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.") || name == "security.capability" ||
		strings.HasPrefix(name, "system.posix_acl_")
}

func (p *packer) regular(n *fsroot.Node, h *tar.Header, attr fsroot.Attr) error {
	if attr.Links > 1 {
		key := inode{attr.Dev, attr.Inode}
		if first, ok := p.links[key]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.tw.WriteHeader(h)
		}
		p.links[key] = h.Name
	}
	if h.Size == 0 {
		return p.tw.WriteHeader(h)
	}
	f, err := n.Open(os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.tw.WriteHeader(h); err != nil {
		return err
	}
	for at := int64(0); at < h.Size; {
		start, end, err := copyfile.NextData(f, at, h.Size)
		if err != nil {
			return err
		}
		if err := p.zeros(start - at); err != nil {
			return err
		}
		copied, err := io.CopyBuffer(struct{ io.Writer }{p.tw}, ctxio.Reader(p.ctx, io.NewSectionReader(f, start, end-start)), p.buf)
		if err == nil {
			err = p.zeros(end - start - copied)
		}
		if err != nil {
			return err
		}
		at = end
	}
	return nil
}

func (p *packer) zeros(n int64) error {
	if n <= 0 {
		return nil
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{p.tw}, ctxio.Reader(p.ctx, io.LimitReader(zero{}, n)), p.buf)
	return err
}

// zero reads as zeros without end.
type zero struct{}

func (zero) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
