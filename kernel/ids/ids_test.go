package ids

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

const passwdFile = `# users
root:x:0:0:root:/root:/bin/sh
web:x:1000:1001::/srv/web:/bin/sh
1000:x:0:0:a trap:/root:/bin/sh
huge:x:4294967296:0::/:/bin/sh
minus:x:-1:0::/:/bin/sh
evil:x:5:5::relative:/bin/sh
+nis
short:x
`

const groupFile = `root:x:0:root
web:x:1001:
video:x:44:web,root
audio:x:29:other,web
1001:x:0:
huge:x:99999999999:
`

func tree(t *testing.T, files map[string]string) *fsroot.Root {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := fsroot.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestResolve(t *testing.T) {
	root := tree(t, map[string]string{"passwd": passwdFile, "group": groupFile})
	tests := []struct {
		spec   string
		extra  []string
		uid    int
		gid    int
		groups []int
		home   string
	}{
		{"", nil, 0, 0, []int{0, 44}, "/root"},
		{"root", nil, 0, 0, []int{0, 44}, "/root"},
		{"web", nil, 1000, 1001, []int{29, 44, 1001}, "/srv/web"},
		{"1000", nil, 1000, 1001, []int{29, 44, 1001}, "/srv/web"}, // CVE-2026-46680: not the entry named "1000"
		{"web:video", nil, 1000, 44, []int{44}, "/srv/web"},
		{"web:1001", nil, 1000, 1001, []int{1001}, "/srv/web"}, // not the group named "1001"
		{"4242", nil, 4242, 0, []int{0}, "/"},
		{"4242:4343", nil, 4242, 4343, []int{4343}, "/"},
		{"2147483647:2147483647", nil, Max, Max, []int{Max}, "/"},
		{"4242", []string{"video", "77"}, 4242, 0, []int{0, 44, 77}, "/"},
		{":video", nil, 0, 44, []int{44}, "/root"},
		{"evil", nil, 5, 5, []int{5}, "/"},
		{"0001000", nil, 1000, 1001, []int{29, 44, 1001}, "/srv/web"},
	}
	for _, tt := range tests {
		got, err := Resolve(root, tt.spec, tt.extra)
		if err != nil || got.UID != tt.uid || got.GID != tt.gid || !slices.Equal(got.Groups, tt.groups) || got.Home != tt.home {
			t.Errorf("Resolve(%q, %q) = %+v, %v; want %d:%d %v %s", tt.spec, tt.extra, got, err, tt.uid, tt.gid, tt.groups, tt.home)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	root := tree(t, map[string]string{"passwd": passwdFile, "group": groupFile})
	for spec, want := range map[string]errkind.Kind{
		"2147483648":             errkind.Invalid, // CVE-2024-40635
		"4294967296":             errkind.Invalid,
		"18446744073709551616":   errkind.Invalid,
		"0:2147483648":           errkind.Invalid,
		"-1":                     errkind.Invalid,
		"+0":                     errkind.Invalid,
		"web:":                   errkind.Invalid,
		"web:web:web":            errkind.Invalid,
		"a b":                    errkind.Invalid,
		"web\nroot":              errkind.Invalid,
		"web\x00":                errkind.Invalid,
		"\x1b[31m":               errkind.Invalid,
		"a/b":                    errkind.Invalid,
		"huge":                   errkind.Invalid,
		"minus":                  errkind.Invalid,
		"web:huge":               errkind.Invalid,
		strings.Repeat("a", 300): errkind.Invalid,
		"0x0":                    errkind.NotFound, // CVE-2026-30892: neither a number nor root
		"1e3":                    errkind.NotFound,
		"nobody":                 errkind.NotFound,
		"short":                  errkind.NotFound,
		"web:nogroup":            errkind.NotFound,
	} {
		if got, err := Resolve(root, spec, nil); !errkind.Is(err, want) {
			t.Errorf("Resolve(%q) = %+v, %v; want an error that is %v", spec, got, err, want)
		}
	}
	if _, err := Resolve(root, "0", []string{"nogroup"}); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("unknown extra group: %v", err)
	}
}

func TestResolveWithoutFiles(t *testing.T) {
	root := tree(t, nil)
	if got, err := Resolve(root, "7:8", nil); err != nil || got.UID != 7 || got.GID != 8 {
		t.Errorf("numbers without files: %+v, %v", got, err)
	}
	if _, err := Resolve(root, "root", nil); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("name without files: %v", err)
	}
	// A directory in the place of the file, a link out of the root and a file without end are not read.
	if err := os.Mkdir(filepath.Join(root.Dir().Name(), "etc/passwd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Resolve(root, "root", nil); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("directory for passwd: %v", err)
	}
	big := tree(t, nil)
	f, err := os.Create(filepath.Join(big.Dir().Name(), "etc/passwd"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(maxFile + 1); err != nil {
		t.Fatal(err)
	}
	if _, err := Resolve(big, "root", nil); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("passwd of more than 10 MiB: %v", err)
	}
}
