package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// TestHostileArchives applies what published escapes did. Either the archive is refused, or it unpacks harmlessly; the
// canary beside the store never changes.
func TestHostileArchives(t *testing.T) {
	top := t.TempDir()
	canary := filepath.Join(top, "canary")
	if err := os.WriteFile(canary, []byte("alive"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, filepath.Join(top, "layers"))
	up := strings.Repeat("../", 12)
	host := strings.TrimPrefix(canary, "/")
	with := func(f file, change func(*tar.Header)) file { change(&f.Header); return f }
	tests := []struct {
		name    string
		files   []file
		refused bool
		inside  string // what must exist in the layer instead
	}{
		{"dotdot", []file{reg(up+host, "dead")}, true, ""},
		{"dotdot inside", []file{reg("a/../../../"+host, "dead")}, true, ""},
		{"dotdot that stays", []file{reg("a/../b", "x")}, false, "b"},
		{"absolute", []file{reg(canary, "dead")}, false, host},
		{"symlink to the host", []file{symlink("d", filepath.Dir(canary)), dir(filepath.Dir(host), 0o755), reg("d/canary", "dead")}, false, host},
		{"symlink to the host, target missing", []file{symlink("d", filepath.Dir(canary)), reg("d/canary", "dead")}, false, host},
		{"symlink up", []file{symlink("d", up), reg("d/"+host, "dead")}, false, host},
		{"symlink overwritten by file", []file{symlink("c", canary), reg("c", "dead")}, false, "c"},
		{"hard link to the host", []file{hardlink("c", canary), reg("c", "dead")}, true, ""},
		{"hard link up", []file{hardlink("c", up+host)}, true, ""},
		{"hard link through symlink", []file{symlink("d", "/"), hardlink("c", "d/"+host)}, true, ""},
		{"hard link to symlink, then written", []file{symlink("l", canary), hardlink("c", "l"), reg("c", "dead")}, false, "c"},
		{"hard link to symlink, then chmod", []file{symlink("l", canary), with(hardlink("c", "l"), func(h *tar.Header) { h.Mode = 0o777 })}, false, "c"},
		{"hard link to itself", []file{reg("c", "x"), hardlink("c", "c")}, true, ""},
		{"root is a symlink", []file{symlink("./", canary)}, true, ""},
		{"root is a file", []file{reg(".", "dead")}, true, ""},
		{"root is an absolute symlink", []file{symlink("/", "/")}, true, ""},
		{"through a file", []file{reg("f", "x"), reg("f/g", "y")}, true, ""},
		{"symlink loop", []file{symlink("a", "b"), symlink("b", "a"), reg("a/f", "x")}, true, ""},
		{"whiteout of nothing", []file{reg(".wh.", "")}, true, ""},
		{"whiteout of dot", []file{reg("d/.wh..", "")}, true, ""},
		{"whiteout of dotdot", []file{reg("d/.wh...", "")}, true, ""},
		{"whiteout through symlink", []file{symlink("d", filepath.Dir(canary)), reg("d/.wh.canary", "")}, false, host},
		{"opaque through symlink", []file{symlink("d", filepath.Dir(canary)), reg("d/.wh..wh..opq", "")}, false, filepath.Dir(host)},
		{"aufs metadata", []file{dir(".wh..wh.plnk", 0o755), reg(".wh..wh.aufs", "x"), reg("ok", "x")}, false, "ok"},
		{"overlay attribute", []file{with(dir("d", 0o755), func(h *tar.Header) {
			h.PAXRecords = map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.trusted.overlay.opaque": "y"}
		})}, false, "d"},
		{"long attribute", []file{with(reg("f", "x"), func(h *tar.Header) {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.x": strings.Repeat("v", 200_000)}
		})}, true, ""},
		{"long attribute name", []file{with(reg("f", "x"), func(h *tar.Header) {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user." + strings.Repeat("n", 300): "v"}
		})}, true, ""},
		{"long name", []file{reg(strings.Repeat("n", 256), "x")}, true, ""},
		{"long path", []file{reg(strings.Repeat("d/", 3000)+"f", "x")}, true, ""},
		{"negative owner", []file{with(reg("f", "x"), func(h *tar.Header) { h.Uid = -1 })}, true, ""},
		{"owner -1", []file{with(reg("f", "x"), func(h *tar.Header) { h.Uid = 1<<32 - 1 })}, true, ""},
		{"owner that wraps to root", []file{with(reg("f", "x"), func(h *tar.Header) { h.Gid = 1 << 32 })}, true, ""},
		{"device number", []file{{tar.Header{Typeflag: tar.TypeBlock, Name: "b", Devmajor: 1 << 20}, ""}}, true, ""},
		{"unknown type", []file{{tar.Header{Typeflag: 'Z', Name: "z"}, ""}}, true, ""},
		{"folder replaced by symlink, then entered", []file{dir("d", 0o755), reg("d/f", "x"), symlink("d", filepath.Dir(canary)), reg("d/canary", "dead")}, false, host},
		{"file replaced", []file{reg("f", "first"), reg("f", "second"), reg("./f", "third")}, false, "f"},
	}
	for _, tt := range tests {
		data := archive(t, tt.files...)
		l, err := s.Apply(context.Background(), "", bytes.NewReader(data), "")
		if tt.refused {
			if !errkind.Is(err, errkind.Invalid) {
				t.Errorf("%s: %v (%v), want it refused", tt.name, err, errkind.Of(err))
			}
		} else if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else {
			checkTar(t, s, l, data)
			root, err := fsroot.Open(s.diff(l.ChainID))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := root.Lstat(tt.inside); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if n, err := root.At("d"); err == nil {
				if attrs, _ := n.Xattrs(); attrs["trusted.overlay.redirect"] != nil || tt.name == "overlay attribute" && len(attrs) > 0 {
					t.Errorf("%s: attributes %v", tt.name, attrs)
				}
				n.Close()
			}
			root.Close()
		}
		info, err := os.Lstat(canary)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if content, err := os.ReadFile(canary); err != nil || string(content) != "alive" || info.Mode() != 0o600 {
			t.Fatalf("%s: the canary is %q, %v, %v", tt.name, content, info.Mode(), err)
		}
	}
	leftovers(t, s)
	if entries, _ := os.ReadDir(top); len(entries) != 2 {
		t.Errorf("beside the store: %v", entries)
	}
}

// TestTarOfOddArchives: whatever the archive looks like, exactly the same bytes come out again.
func TestTarOfOddArchives(t *testing.T) {
	s := open(t)
	long := strings.Repeat("l", 200)
	pax := func(f file, records map[string]string) file { f.PAXRecords = records; return f }
	format := func(f file, format tar.Format) file { f.Format = format; return f }
	odd := map[string][]byte{
		"empty":       archive(t),
		"no end mark": archive(t, reg("a", "x"))[:1024],
		"more zeros":  append(archive(t, reg("a", "x")), make([]byte, 10<<10)...),
		"trailing":    append(archive(t, reg("a", "x")), "rubbish after the end"...),
		"gnu names":   archive(t, format(reg("d/"+long+"/"+long, "x"), tar.FormatGNU), format(symlink("s", long+long), tar.FormatGNU)),
		"pax names":   archive(t, format(reg("d/"+long+"/"+long, "x"), tar.FormatPAX), format(reg("bad\xff\xfename", "y"), tar.FormatPAX)),
		"attributes":  archive(t, pax(reg("a", "x"), map[string]string{"SCHILY.xattr.user.k": "\xff\x00bin"[:1], "comment": "c"})),
		"global":      archive(t, file{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "all"}}, ""}, reg("a", "x")),
		"links":       archive(t, reg("a", "content"), hardlink("b", "a"), hardlink("c/d", "b"), reg("a", "other content")),
		"twice":       archive(t, dir("d", 0o755), reg("d/f", "one"), symlink("e", "d"), reg("e/f", "two"), reg("d", "now a file"), dir("d", 0o700), reg("d/f", "three")),
		"hidden":      archive(t, reg(".wh.a", ""), reg("a", "here"), reg(".wh.d", ""), dir("d", 0o755), reg("d/x", "y"), reg("z", "q"), reg(".wh.z", "")),
		"big":         archive(t, reg("big", strings.Repeat("0123456789abcdef", 200_000)), reg("small", "s")),
	}
	for name, data := range odd {
		l, err := s.Apply(context.Background(), "", bytes.NewReader(data), "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkTar(t, s, l, data)
	}
}

func TestSparse(t *testing.T) {
	s := open(t)
	// GNU format 1.0 in PAX records: a map of data in front of the data itself. 1 MiB of zeros, "data" in the middle.
	sparseMap := "1\n524288\n4\n"
	content := sparseMap + strings.Repeat("\x00", 512-len(sparseMap)) + "data"
	data := archive(t, file{tar.Header{Typeflag: tar.TypeReg, Name: "GNUSparseFile.0/s", Mode: 0o600, Size: int64(len(content)), Format: tar.FormatPAX,
		PAXRecords: map[string]string{"comment": "placeholder"}}, content}, reg("after", "x"))
	// archive/tar does not write sparse files; turn the comment into the records.
	data = sparseRecords(t, data)
	l := apply(t, s, "", data)
	checkTar(t, s, l, data)
	info, err := os.Stat(filepath.Join(s.diff(l.ChainID), "s"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != 1<<20 {
		t.Errorf("size = %d", info.Size())
	}
	got, err := os.ReadFile(filepath.Join(s.diff(l.ChainID), "s"))
	if err != nil || string(got[524288:524292]) != "data" || !allZero(got[:524288]) {
		t.Errorf("content is wrong: %v", err)
	}
}

// sparseRecords replaces the first PAX header of the archive by one with the records of a sparse file.
func sparseRecords(t *testing.T, data []byte) []byte {
	t.Helper()
	records := "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n21 GNU.sparse.name=s\n31 GNU.sparse.realsize=1048576\n"
	out := bytes.Clone(data)
	size := out[124:136]
	copy(size, []byte("00000000000\x00"))
	digits := []byte("00000000000")
	for i, n := 10, len(records); n > 0; i, n = i-1, n/8 {
		digits[i] = byte('0' + n%8)
	}
	copy(size, digits)
	copy(out[512:1024], make([]byte, 512))
	copy(out[512:], records)
	copy(out[148:156], "        ")
	sum := 0
	for _, b := range out[:512] {
		sum += int(b)
	}
	field := []byte("000000\x00 ")
	for i := 5; sum > 0; i, sum = i-1, sum/8 {
		field[i] = byte('0' + sum%8)
	}
	copy(out[148:156], field)
	return out
}

// TestRacingAttacker changes the folder under the unpacker's hands between folder and link to the host.
func TestRacingAttacker(t *testing.T) {
	top := t.TempDir()
	outside := filepath.Join(top, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, filepath.Join(top, "layers"))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			drafts, _ := readNames(filepath.Join(s.root, tempDir))
			for _, d := range drafts {
				base := filepath.Join(s.root, tempDir, d, diffDir)
				_ = os.Symlink(outside, filepath.Join(base, "swap"))
				_ = os.Rename(filepath.Join(base, "d"), filepath.Join(base, "d2"))
				_ = os.Rename(filepath.Join(base, "swap"), filepath.Join(base, "d"))
				_ = os.Remove(filepath.Join(base, "d"))
				_ = os.Rename(filepath.Join(base, "d2"), filepath.Join(base, "d"))
			}
		}
	}()
	for range 20 {
		files := []file{dir("d", 0o755)}
		for i := range 50 {
			files = append(files, reg("d/"+strings.Repeat("f", i+1), "x"), dir("e", 0o755))
		}
		_, _ = s.Apply(context.Background(), "", bytes.NewReader(archive(t, files...)), "")
	}
	close(stop)
	<-done
	if names, err := readNames(outside); err != nil || len(names) > 0 {
		t.Errorf("outside holds %v, %v", names, err)
	}
}

// TestNothingLeaks: archives that fail at any point cost neither descriptors nor goroutines.
func TestNothingLeaks(t *testing.T) {
	s := open(t)
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	var files []file
	for i := range 30 {
		content := make([]byte, 40_000)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(content)
		files = append(files, dir("d", 0o755), symlink("s", "d"), reg("s/f"+strings.Repeat("x", i), string(content)))
	}
	_, _ = w.Write(archive(t, files...))
	_ = w.Close()
	count := func() (fds, goroutines int) {
		s.trash.wait()
		names, err := readNames("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names), runtime.NumGoroutine()
	}
	fds, goroutines := count()
	for cut := 20; cut < gz.Len(); cut += gz.Len() / 40 {
		if _, err := s.Apply(context.Background(), "", bytes.NewReader(gz.Bytes()[:cut]), ""); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("cut at %d: %v", cut, err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		_, err := s.Apply(ctx, "", &cancelReader{bytes.NewReader(gz.Bytes()), cut, cancel}, "")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("canceled at %d: %v", cut, err)
		}
	}
	for i := 0; ; i++ {
		f, g := count()
		if f <= fds && g <= goroutines {
			break
		}
		if i == 6000 {
			t.Fatalf("descriptors %d, were %d; goroutines %d, were %d", f, fds, g, goroutines)
		}
		time.Sleep(10 * time.Millisecond)
	}
	leftovers(t, s)
}

// cancelReader cancels the work that reads it after some bytes.
type cancelReader struct {
	r      *bytes.Reader
	left   int
	cancel func()
}

func (c *cancelReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p[:min(len(p), 1000)])
	if c.left -= n; c.left < 0 {
		c.cancel()
	}
	return n, err
}

func TestApplyCanceled(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Apply(ctx, "", bytes.NewReader(archive(t, reg("a", "x"))), "")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
	leftovers(t, s)
}

func TestModes(t *testing.T) {
	s := open(t)
	for _, d := range []string{"", chainDir, writableDir, tempDir, trashDir} {
		info, err := os.Stat(filepath.Join(s.root, d))
		if err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v", d, info.Mode(), err)
		}
	}
}
