package files

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// treeOf makes a root of these files (a name that ends in "/" is a folder, "name>target" a symbolic link) and a view of it.
func treeOf(t *testing.T, names ...string) (dir string, v *View) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range names {
		name, target, link := strings.Cut(name, ">")
		place := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(place), 0o755)
		switch {
		case link:
			err = errors.Join(err, os.Symlink(target, place))
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(place, 0o755))
		default:
			err = errors.Join(err, os.WriteFile(place, []byte(name), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := fsroot.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return dir, &View{Root: root, ctx: t.Context(), release: func() {}}
}

var someFiles = []string{"log/a.log", "log/b.log", "log/b.txt", "log/.hidden.log", "log/sub/c.log", "log/sub/d.log", "srv/x/log/e.log", "srv/y/log/f.log",
	"srv/z>x", "srv/file", "[1].log", "1.log", "a*b", "axb", `back\slash`, "with space.log", "\xff\xfe.log", "ümlaut.log", "empty/", "dangling.log>nowhere",
	"odd/az", "odd/bz", "odd/cz", "odd/ez", "odd/Zz", "odd/_z", "odd/]z", "odd/[z", "odd/-z", "odd/!z", "odd/^z", "odd/7z", "odd/:z", "odd/ z", "odd/\tz", "odd/\x7fz", "odd/*z", "odd/?z", `odd/\z`, "odd/[!a]z", "odd/.h", "odd/.hh",
	"out>/", "up>../../../../../../../..", "loop>loop"}

// TestExpandIsTheShells compares what patterns stand for with what bash makes of them, but for links that lead out of the
// root there, and in it here.
func TestExpandIsTheShells(t *testing.T) {
	dir, v := treeOf(t, someFiles...)
	for _, pattern := range []string{"*", "*.log", "log/*", "log/*.log", "log/.*.log", "[ls]*/*.log", "log/[ab].log", "log/[!a].log", "log/[^a].log", "srv/*/log/?.log", "srv/*/",
		"s*/x/l*", "log/b.*", "?.log", "[[]1].log", `a\*b`, "a[*]b", `back\\slash`, "with*", "empty/*", "nothing*", "*/nothing", "dang*", "srv/*/file", "srv/file/*", "lo[no]p", "*m*",
		"odd/[]]z", "odd/[!]]z", "odd/[^]a]z", "odd/[]a]z", "odd/[]-a]z", "odd/[a-]z", "odd/[-a]z", "odd/[!-a]z", "odd/[--a]z", "odd/[a-c-e]z", "odd/[z-a]z", `odd/[\]]z`, `odd/[\!]z`, `odd/[a\-c]z`, `odd/[\a-c]z`,
		"odd/[[]z", "odd/[[a]z", `odd/\[!a]z`, "odd/[[!]z", "odd/[a!]z", "odd/[^!]z", "odd/[[:digit:]]z", "odd/[![:digit:]]z", "odd/[[:alpha:][:digit:]]z", "odd/[[:punct:]]z", "odd/[![:punct:]]z", "odd/[[:space:]x]z",
		"odd/[[:upper:]_-]z", "odd/[[:word:]]z", "odd/[[:cntrl:]]z", "odd/[[:graph:]]z", "odd/[[:blank:]]z", "odd/[[:xdigit:]-]z", "odd/[[.-.]]z", "odd/[[=a=]b]z", "odd/[[.a.]-c]z", "odd/[*]z", "odd/[?]z", `odd/[\\]z`,
		"odd/[.]h", `odd/\.h*`, "odd/[!x]h", "odd/[[:alpha:]]*"} {
		script := `shopt -s nullglob; export LC_ALL=C; cd "$1" && printf '%s\0' ` + strings.ReplaceAll(pattern, " ", `\ `)
		text, err := exec.Command("bash", "-c", script, "sh", dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for place := range strings.SplitSeq(string(text), "\x00") {
			if place != "" && (strings.ContainsAny(pattern, "*?[") || place != pattern) { // bash leaves what has none as it is
				want = append(want, "/"+place)
			}
		}
		if !strings.ContainsAny(pattern, "*?[") {
			want = []string{"/" + strings.NewReplacer(`\\`, `\`, `\*`, `*`).Replace(pattern)}
		}
		got, err := expand(t.Context(), v.Root, Clean(pattern))
		slices.Sort(want)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s stands for %q, %v; for bash for %q", pattern, got, err, want)
		}
	}
}

// TestExpand: names that are patterns themselves, links, what two matches have in common, and what is too much.
func TestExpand(t *testing.T) {
	_, v := treeOf(t, someFiles...)
	for _, tt := range []struct {
		pattern string
		follow  bool
		want    string // names, or an error
	}{
		{"/a*b", false, "a*b"}, // not axb
		{"/[1].log", false, "[1].log"},
		{"/log/*.log", false, "a.log b.log"},
		{"/srv/*/log", false, "which have the same name"},
		{"/srv/z", true, "z"},
		{"/srv/[z]/.", false, "."},
		{"/out/out/up/log/[a].log", false, "a.log"}, // in the root, wherever links point
		{"/dang*", false, "dangling.log"},
		{"/dang*", true, "dangling.log"}, // itself
		{"/loo*", false, "loop"},
		{"/loo*", true, "loop"},
		{"/[dlu]*", true, "dangling.log log loop up"},
		{"/lo*/[a]*", false, "a.log"},
		{"/nothing*", false, ""},
		{"/etc/passwd/*", false, ""},
		{"/log/[", false, "malformed"},
		{"/log/[]", false, "malformed"},
		{"/log/[!]", false, "malformed"},
		{"/log/[a", false, "malformed"},
		{"/log/[a-", false, "malformed"},
		{"/log/[a\\", false, "malformed"},
		{"/log/[[:digit:]", false, "malformed"},
		{"/log/[[:nothing:]]", false, "malformed"},
		{"/log/[[.ab.]]", false, "malformed"},
		{"/log/[[..]]", false, "malformed"},
		{"/log/*\\", false, "malformed"},
		{"/" + strings.Repeat("*", maxPattern), false, "longer than"},
		{"/log/*\x00", false, ""},
	} {
		found, err := v.Expand(tt.pattern, tt.follow)
		var names []string
		for _, m := range found {
			names = append(names, m.Stat.Name)
		}
		if got := strings.Join(names, " "); err == nil && got != tt.want || err != nil && !strings.Contains(err.Error(), tt.want) || err != nil && tt.want == "" {
			t.Errorf("%.40s is %q, %v", tt.pattern, got, err)
		}
	}
}

// TestExpandEnds: a tree that leads into itself, and one with very many names, hold nobody up.
func TestExpandEnds(t *testing.T) {
	_, v := treeOf(t, "a>.", "b>.", "c>.", "d>.", "e>.", "f>.", "g>.", "h>.", "i>.", "j>.")
	if _, err := v.Expand("/*/*/*/*/*/*/*/*/*/*/*/*", false); !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), "more than") {
		t.Errorf("ten links to the power of twelve: %v", err)
	}
	if _, err := v.Expand("/"+strings.Repeat("[a-j]/", 5)+"nothing*", false); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("many folders to look at: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v.ctx = ctx
	if _, err := v.Expand("/*", false); !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: %v", err)
	}
}

// TestExpandIsWhole: what cannot be read is an error, and not less than there is.
func TestExpandIsWhole(t *testing.T) {
	dir, v := treeOf(t, "log/a.log")
	g := &globber{ctx: t.Context(), root: v.Root}
	f, err := os.Open(filepath.Join(dir, "log/a.log")) // the kernel lists only folders
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if names, err := g.read(f, "*"); err == nil {
		t.Errorf("a folder that cannot be read holds %q", names)
	}
	if err := v.Root.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"/log/a.log", "/log/*"} {
		if found, err := expand(t.Context(), v.Root, pattern); err == nil {
			t.Errorf("%s in a root that cannot be looked at is %q", pattern, found)
		}
	}
}

// TestPackSeveral: one archive of all, hard links among them, without what is gone by then.
func TestPackSeveral(t *testing.T) {
	dir, v := treeOf(t, "log/a.log", "log/gone.log", "log/z.log/inner")
	if err := os.Link(filepath.Join(dir, "log/a.log"), filepath.Join(dir, "log/b.log")); err != nil {
		t.Fatal(err)
	}
	found, err := v.Expand("/log/*.log", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "log/gone.log")); err != nil {
		t.Fatal(err)
	}
	archive := v.PipeAll(found)
	defer archive.Close()
	var list []string
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s>%s", h.Name, h.Linkname))
	}
	if got := strings.Join(list, " "); got != "a.log> b.log>a.log z.log/> z.log/inner>" {
		t.Errorf("the archive holds %s", got)
	}
}
