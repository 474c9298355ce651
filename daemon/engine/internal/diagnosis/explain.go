package diagnosis

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"pier/kernel/fsroot"
)

// Subject is a program that could not be executed.
type Subject struct {
	Tree Tree
	// Name is the first argument: a path, or a name that is looked for in Path ("" for the usual folders).
	Name, Path string
	Dir        string // working folder
	UID, GID   uint32
	Groups     []uint32
}

// maxInterpreters is how often the kernel lets one script name another one as its interpreter, and one more to see it.
const maxInterpreters = 6

const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Explain returns one sentence without a full stop, or "" where the cause is not found.
func Explain(s Subject) string {
	if s.Name == "" || s.Tree.Root == nil {
		return ""
	}
	return printable(s.explain())
}

func (s Subject) explain() string {
	if strings.Contains(s.Name, "/") {
		name := s.Name
		if !path.IsAbs(name) {
			name = path.Join("/", s.Dir, name)
		}
		if s.Tree.exists(name) {
			return s.inspect(path.Clean(name), maxInterpreters)
		}
		if why := s.unreachable(path.Clean(name)); why != "" {
			return why
		}
		return s.missing()
	}
	search := s.Path
	if search == "" {
		search = usualPath
	}
	for dir := range strings.SplitSeq(search, ":") {
		name := path.Join(dir, s.Name)
		if !path.IsAbs(name) {
			continue
		}
		why := s.unreachable(name)
		if why == "" && s.Tree.exists(name) {
			why = s.inspect(name, maxInterpreters)
		}
		if why != "" {
			return why
		}
	}
	return s.missing()
}

// shells are what people ask for first; an image may have another one, or none.
var shells = [...]string{"sh", "bash", "ash", "dash", "zsh"}

// missing explains a program that is not there.
func (s Subject) missing() string {
	if strings.ContainsAny(s.Name, " \t") {
		return fmt.Sprintf("%q is taken as the name of one program: give the program and each argument as a word of its own, or run it by sh -c", s.Name)
	}
	base := path.Base(s.Name)
	if !slices.Contains(shells[:], base) {
		return ""
	}
	for _, other := range shells {
		if name := "/bin/" + other; name != s.Name && s.Tree.exists(name) {
			return fmt.Sprintf("the image has no %s, but it has %s: use that", clip(s.Name), name)
		}
	}
	return "the image has no shell: give the program itself with its arguments"
}

// inspect looks for what keeps the file name, which exists, from being executed.
func (s Subject) inspect(name string, more int) string {
	if why := s.closed(name); why != "" {
		return why
	}
	f, err := s.Tree.open(name)
	if err != nil {
		return ""
	}
	defer f.close()
	mode := f.Mode()
	switch {
	case mode.IsDir():
		return fmt.Sprintf("%s is a folder: name a program in it", name)
	case !mode.IsRegular():
		return fmt.Sprintf("%s is not a regular file: only a file can be executed", name)
	case mode.Perm()&0o111 == 0:
		return fmt.Sprintf("%s is not marked as executable (its mode is %04o): run `chmod +x` on it, in a Dockerfile by `COPY --chmod=755`", name, mode.Perm())
	case !s.may(f, 0o1):
		return fmt.Sprintf("user %d may not execute %s (its mode is %04o and it belongs to user %d): give it the mode 755, or run it as another user (--user)",
			s.UID, name, mode.Perm(), fsroot.AttrOf(f).UID)
	case f.noexec:
		return fmt.Sprintf("%s lies on a file system that is mounted with noexec: put the program elsewhere, or mount it with exec (--tmpfs PATH:exec)", name)
	}
	switch head := f.head; {
	case len(head) == 0:
		return fmt.Sprintf("%s is empty: what copied or wrote it has failed", name)
	case bytes.HasPrefix(head, []byte("#!")):
		return s.script(name, head, more)
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return s.binary(name, f)
	default:
		return foreign(name, head)
	}
}

// unreachable explains why name cannot even be found out about.
func (s Subject) unreachable(name string) string {
	if target, ok := s.Tree.dangling(name); ok {
		return fmt.Sprintf("%s is a symbolic link to %s, which leads to nothing or in a circle: point it at the program", name, clip(target))
	}
	return s.closed(name)
}

// closed explains why the folders above name keep the user out.
func (s Subject) closed(name string) string {
	for i := 1; i < len(name); i++ {
		if name[i] != '/' {
			continue
		}
		info, err := s.Tree.stat(name[:i])
		if err != nil {
			return ""
		}
		if info.IsDir() && !s.may(info, 0o1) {
			return fmt.Sprintf("user %d may not enter the folder %s (its mode is %04o and it belongs to user %d): give it the mode 755, or run as another user (--user)",
				s.UID, name[:i], info.Mode().Perm(), fsroot.AttrOf(info).UID)
		}
	}
	return ""
}

// may reports whether the user has the permission bit of a file (0o1: to execute). Root has it if anybody has.
func (s Subject) may(info fs.FileInfo, bit fs.FileMode) bool {
	mode, attr := info.Mode().Perm(), fsroot.AttrOf(info)
	switch {
	case s.UID == 0:
		return info.IsDir() || mode&(bit|bit<<3|bit<<6) != 0
	case int(s.UID) == attr.UID:
		return mode&(bit<<6) != 0
	case int(s.GID) == attr.GID || slices.Contains(s.Groups, uint32(attr.GID)):
		return mode&(bit<<3) != 0
	}
	return mode&bit != 0
}

// script explains what is wrong with the interpreter of a script.
func (s Subject) script(name string, head []byte, more int) string {
	const seen = 256 // bytes of a file in which the kernel looks for the first line
	line, _, whole := bytes.Cut(head[:min(len(head), seen)], []byte("\n"))
	interpreter := strings.TrimLeft(string(line[2:]), " \t")
	if end := strings.IndexAny(interpreter, " \t"); end >= 0 {
		interpreter = interpreter[:end]
	} else if !whole && len(head) > seen {
		return fmt.Sprintf("the first line of %s is longer than the %d bytes that the kernel reads: shorten the path of its interpreter", name, seen)
	}
	plain, carriage := strings.CutSuffix(interpreter, "\r")
	switch {
	case carriage:
		return fmt.Sprintf("the first line of %s ends as on Windows (CRLF), so that its interpreter is taken to be %q: "+
			"convert the file, by `sed -i 's/\\r$//'` or .gitattributes with `eol=lf`", name, interpreter)
	case plain == "":
		return fmt.Sprintf("the first line of %s names no interpreter: write one there, such as #!/bin/sh", name)
	case more == 0:
		return fmt.Sprintf("%s is a script whose interpreter is a script, and so on: name a program in its first line", name)
	}
	place := plain
	if !path.IsAbs(place) {
		place = path.Join("/", s.Dir, place)
	}
	if !s.Tree.exists(place) {
		return fmt.Sprintf("%s asks in its first line for the interpreter %s, which the image does not have: install it in the image, or name one that is there",
			name, clip(plain))
	}
	return s.inspect(path.Clean(place), more-1)
}

// foreign explains a file that is no program of Linux.
func foreign(name string, head []byte) string {
	what := ""
	switch {
	case bytes.HasPrefix(head, []byte("MZ")):
		what = "a program for Windows"
	case bytes.HasPrefix(head, []byte("\xcf\xfa\xed\xfe")), bytes.HasPrefix(head, []byte("\xce\xfa\xed\xfe")):
		what = "a program for macOS"
	case bytes.HasPrefix(head, []byte("\xca\xfe\xba\xbe")):
		what = "a class of Java or a program for macOS"
	case bytes.HasPrefix(head, []byte("\x1f\x8b")), bytes.HasPrefix(head, []byte("PK\x03\x04")):
		what = "a packed archive"
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf#!")):
		return fmt.Sprintf("%s begins with a byte order mark, which hides its first line #!: save it as UTF-8 without one", name)
	case isText(head):
		return fmt.Sprintf("%s is a text without a first line such as #!/bin/sh, which names its interpreter: add one, or run it by `sh %s`", name, name)
	default:
		what = "no program that Linux knows"
	}
	return fmt.Sprintf("%s is %s: put a program built for linux/%s in its place", name, what, runtime.GOARCH)
}

// isText says whether the first bytes of a file are those of a text, in whatever encoding that keeps ASCII.
func isText(head []byte) bool {
	return !bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' && !strings.ContainsRune("\t\n\v\f\r\x1b", r) })
}

// clip bounds what is quoted from a file.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

// printable writes control characters as escapes: names come out of images, and end on terminals.
func printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	quoted := strconv.Quote(s)
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(quoted[1 : len(quoted)-1])
}
