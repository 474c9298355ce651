package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/ulikunitz/xz"

	"pier/kernel/fsroot"
	"pier/kernel/mount"
	"pier/lib/errkind"
)

// open makes a store that leaves nothing behind.
func open(t testing.TB) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "layers"))
}

func openAt(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// Where the kernel cannot make its work folder it mounts all the same, for reading alone. That is told, not found out inside.
func TestMountOnFullDisk(t *testing.T) {
	disk := t.TempDir()
	memory, err := mount.Filesystem("tmpfs", map[string]string{"nr_inodes": "40", "size": "1m"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	if err := mount.Attach(memory, disk); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mount.Unmount(disk, true) })
	s := openAt(t, filepath.Join(disk, "layers"))
	w, err := s.NewWritable("w")
	if err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(disk, "full")
	if err := os.Mkdir(full, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := 0; err == nil; i++ {
		err = os.Mkdir(filepath.Join(full, strconv.Itoa(i)), 0o700)
	}
	if f, err := s.Mount("", &w, MountOptions{}); !errkind.Is(err, errkind.Exhausted) || f != nil {
		t.Errorf("on a full disk: %v", err)
	}
	f, err := s.Mount("", &w, MountOptions{OrReadOnly: true})
	if err != nil {
		t.Errorf("for reading: %v", err)
	} else {
		_ = f.Close()
	}
	if err := os.RemoveAll(full); err != nil {
		t.Fatal(err)
	}
	if f, err = s.Mount("", &w, MountOptions{}); err != nil {
		t.Fatalf("with space again: %v", err)
	}
	defer f.Close()
	if err := os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/x", f.Fd()), nil, 0o600); err != nil {
		t.Error(err)
	}
}

// file is one entry of a test archive.
type file struct {
	tar.Header
	content string
}

func reg(name, content string) file {
	return file{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, content}
}
func dir(name string, mode int64) file {
	return file{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}, ""}
}
func symlink(name, target string) file {
	return file{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}
func hardlink(name, target string) file {
	return file{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, ""}
}

func archive(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := f.Header
		if h.Size == 0 {
			h.Size = int64(len(f.content))
		}
		if h.ModTime.IsZero() && h.Typeflag != tar.TypeXGlobalHeader {
			h.ModTime = time.Unix(1_700_000_000, 0)
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func apply(t testing.TB, s *Store, parent digest.Digest, data []byte) Layer {
	t.Helper()
	l, err := s.Apply(context.Background(), parent, bytes.NewReader(data), "")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// checkTar proves that the layer's tar is byte for byte what it should be.
func checkTar(t testing.TB, s *Store, l Layer, want []byte) {
	t.Helper()
	r, err := s.Tar(context.Background(), l.ChainID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if digest.FromBytes(got) != l.DiffID || int64(len(got)) != l.TarSize {
		t.Fatalf("tar has digest %s and %d bytes, want %s and %d", digest.FromBytes(got), len(got), l.DiffID, l.TarSize)
	}
	if want != nil && !bytes.Equal(got, want) {
		t.Fatal("tar differs from the one applied")
	}
}

// tree lists a folder: one line an entry, with mode, owner and content or target.
func tree(t testing.TB, root *fsroot.Root, place string) []string {
	t.Helper()
	d, err := root.OpenFile(place, os.O_RDONLY|fsroot.ODirectory, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, name := range names {
		p := filepath.Join(place, name)
		n, err := root.At(p)
		if err != nil {
			t.Fatal(err)
		}
		info, err := n.Stat()
		if err != nil {
			t.Fatal(err)
		}
		a := fsroot.AttrOf(info)
		line := fmt.Sprintf("%s %v %d:%d %d", p, info.Mode(), a.UID, a.GID, info.ModTime().Unix())
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			target, _ := n.Readlink()
			line += " -> " + target
		case info.Mode().IsRegular():
			data, err := root.ReadFile(p, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			line += fmt.Sprintf(" %q", data)
		}
		n.Close()
		lines = append(lines, line)
		if info.IsDir() {
			lines = append(lines, tree(t, root, p)...)
		}
	}
	return lines
}

func mounted(t testing.TB, s *Store, chain digest.Digest, w *Writable) *fsroot.Root {
	t.Helper()
	f, err := s.Mount(chain, w, MountOptions{Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return fsroot.FromFile(f)
}

func has(lines []string, part string) bool {
	for _, l := range lines {
		if strings.HasPrefix(l, part) {
			return true
		}
	}
	return false
}

func TestApplyMountAndWhiteouts(t *testing.T) {
	s := open(t)
	suid := reg("bin/su", "su")
	suid.Mode, suid.Uid, suid.Gid = 0o4755, 0, 42
	base := archive(t,
		dir("./", 0o755), dir("./bin/", 0o755), suid, hardlink("bin/su2", "bin/su"),
		dir("tmp", 0o1777), dir("etc", 0o755), reg("etc/passwd", "root"), reg("etc/gone", "x"),
		dir("data", 0o700), reg("data/old", "old"), symlink("lib", "usr/lib"),
		file{tar.Header{Typeflag: tar.TypeChar, Name: "dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3}, ""},
		file{tar.Header{Typeflag: tar.TypeFifo, Name: "dev/fifo", Mode: 0o600, Uid: 7}, ""},
	)
	l1 := apply(t, s, "", base)
	checkTar(t, s, l1, base)
	top := archive(t,
		reg("etc/.wh.gone", ""), dir("data", 0o755), reg("data/.wh..wh..opq", ""), reg("data/new", "new"),
		reg("tmp/file", "in tmp"), // its parent is implied and must stay 1777
	)
	l2 := apply(t, s, l1.ChainID, top)
	checkTar(t, s, l2, top)
	lines := tree(t, mounted(t, s, l2.ChainID, nil), ".")
	for _, want := range []string{"bin/su urwxr-xr-x 0:42 1700000000 \"su\"", "bin/su2 urwx", "tmp dtrwxrwxrwx", "tmp/file", "data/new", "data drwxr-xr-x",
		"lib Lrwxrwxrwx 0:0 1700000000 -> usr/lib", "dev/null Dcrw-rw-rw-", "dev/fifo prw------- 7:0"} {
		if !has(lines, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(lines, "\n"))
		}
	}
	for _, gone := range []string{"etc/gone", "data/old", "etc/.wh", "data/.wh"} {
		if has(lines, gone) {
			t.Errorf("%s is there", gone)
		}
	}
	if l1.Size != 2+4+1+3 {
		t.Errorf("size = %d", l1.Size)
	}
}

func TestCommitOverlay(t *testing.T) {
	s := open(t)
	base := apply(t, s, "", archive(t, dir("etc", 0o755), reg("etc/a", "a"), reg("etc/b", "b"), dir("old", 0o755), reg("old/x", "x")))
	w, err := s.NewWritable("build-1")
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Mount(base.ChainID, &w, MountOptions{Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	root := fsroot.FromFile(f)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(root.Remove("etc/a"))
	must(root.RemoveAll("old"))
	must(root.MkdirAll("old", 0o755, 0, 0))
	must(root.MkdirAll("fresh/deep", 0o755, 3, 4))
	write := func(name, content string) {
		t.Helper()
		out, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
		must(err)
		_, err = out.WriteString(content)
		must(err)
		must(out.Close())
	}
	write("etc/b", "changed")
	write("fresh/file", "content")
	write("fresh/bad-\xff-name", "x")
	write("fresh/"+strings.Repeat("long", 60), "y")
	must(root.Link("fresh/file", "fresh/link"))
	must(root.Symlink("../nowhere", "fresh/sym"))
	n, err := root.At("fresh/file")
	must(err)
	must(n.SetXattr("user.note", []byte("bin\x01\xffary")))
	must(n.Close())
	want := tree(t, root, ".")
	must(f.Close())
	l, err := s.Commit(context.Background(), base.ChainID, w.Upper)
	must(err)
	checkTar(t, s, l, nil)
	if l.Size != int64(len("changed")+len("content")+2) {
		t.Errorf("size = %d", l.Size)
	}
	if _, err := os.Stat(w.Upper); err == nil {
		t.Error("the upper folder is still there")
	}
	must(s.RemoveWritable("build-1"))
	if got := tree(t, mounted(t, s, l.ChainID, nil), "."); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("mounted:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// What the tar says is what the folder says: applied elsewhere it gives the same tree and the same names.
	other := open(t)
	r, err := s.Tar(context.Background(), base.ChainID)
	must(err)
	base2, err := other.Apply(context.Background(), "", r, base.DiffID)
	must(err)
	r.Close()
	r, err = s.Tar(context.Background(), l.ChainID)
	must(err)
	data, err := io.ReadAll(r)
	must(err)
	r.Close()
	l2, err := other.Apply(context.Background(), base2.ChainID, bytes.NewReader(data), l.DiffID)
	must(err)
	checkTar(t, other, l2, data)
	if l2.ChainID != l.ChainID || l2.Size != l.Size {
		t.Errorf("applied = %+v, committed = %+v", l2, l)
	}
	if got := tree(t, mounted(t, other, l2.ChainID, nil), "."); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("applied elsewhere:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	names := entryNames(t, data)
	if !names["etc/.wh.a"] || !names["old/.wh..wh..opq"] || names["fresh/.wh..wh..opq"] {
		t.Errorf("entries: %v", names)
	}
}

func entryNames(t testing.TB, data []byte) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names[h.Name] = true
	}
}

func TestCommitIsDeterministic(t *testing.T) {
	s := open(t)
	var ids []digest.Digest
	for range 2 {
		up := filepath.Join(s.root, "tmp", "up")
		if err := os.MkdirAll(filepath.Join(up, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"b", "a", "d/c"} {
			p := filepath.Join(up, name)
			if err := os.WriteFile(p, []byte(name), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(p, time.Unix(5, 123), time.Unix(5, int64(len(ids))*1000)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(filepath.Join(up, "d"), time.Unix(9, 0), time.Unix(9, 0)); err != nil {
			t.Fatal(err)
		}
		l, err := s.Commit(context.Background(), "", up)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, l.ChainID)
	}
	if ids[0] != ids[1] {
		t.Errorf("the same content gave %v", ids)
	}
}

func TestCompressions(t *testing.T) {
	s := open(t)
	plain := archive(t, reg("a", strings.Repeat("content ", 100_000)))
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(plain)
	_ = g.Close()
	z, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = z.Write(plain)
	_ = z.Close()
	want := digest.FromBytes(plain)
	for name, data := range map[string][]byte{"plain": plain, "gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		l, err := open(t).Apply(context.Background(), "", bytes.NewReader(data), want)
		if err != nil || l.DiffID != want {
			t.Errorf("%s: %v, %v", name, l, err)
		}
		_, err = open(t).Apply(context.Background(), "", bytes.NewReader(data[:len(data)/2]), want)
		if !errkind.Is(err, errkind.Invalid) {
			t.Errorf("%s cut in half: %v", name, err)
		}
	}
	_, err = s.Apply(context.Background(), "", bytes.NewReader(plain), digest.FromString("other"))
	if !errkind.Is(err, errkind.Invalid) {
		t.Errorf("wrong digest: %v", err)
	}
	_, err = s.Apply(context.Background(), "", strings.NewReader("\xfd7zXZ\x00rest"), "")
	if !errkind.Is(err, errkind.Unsupported) {
		t.Errorf("xz: %v", err)
	}
	leftovers(t, s)
}

func TestDecompressNone(t *testing.T) {
	for _, content := range []string{"plain", ""} {
		r, err := DecompressGiven(strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || string(got) != content {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// TestDecompressXZ reads xz streams one after the other, and refuses one that asks for 4 GiB.
func TestDecompressXZ(t *testing.T) {
	plain := bytes.Repeat([]byte("content "), 1<<16)
	var packed bytes.Buffer
	for _, part := range [][]byte{plain[:1000], plain[1000:]} {
		z, err := xz.NewWriter(&packed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	read := func(stream []byte) ([]byte, error) {
		r, err := DecompressGiven(bytes.NewReader(stream))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	if got, err := read(packed.Bytes()); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes of %d, %v", len(got), len(plain), err)
	}
	if got, err := read(packed.Bytes()[:packed.Len()-40]); err == nil {
		t.Errorf("cut short: %d bytes and no error", len(got))
	}
	// xz file format 1.2, section 3.1: size, flags, one filter (LZMA2, one byte of properties: its dictionary), padding, CRC32.
	header := packed.Bytes()[12:][:4*(int(packed.Bytes()[12])+1)]
	at := bytes.Index(header[2:], []byte{0x21, 1}) + 4
	header[at] = 40
	end := len(header) - 4
	binary.LittleEndian.PutUint32(header[end:], crc32.ChecksumIEEE(header[:end]))
	if _, err := read(packed.Bytes()); !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), "128 MiB") {
		t.Errorf("a dictionary of 4 GiB: %v", err)
	}
}

// leftovers proves that no half-made layer lies about.
func leftovers(t testing.TB, s *Store) {
	t.Helper()
	s.trash.wait()
	for _, d := range []string{tempDir, trashDir} {
		names, err := readNames(filepath.Join(s.root, d))
		if err != nil || len(names) > 0 {
			t.Errorf("%s holds %v, %v", d, names, err)
		}
	}
}
