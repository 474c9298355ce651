// Package ids turns "user[:group]" into numbers, by the files of a foreign root.
//
//	spec   = [ who ] [ ":" who ]
//	who    = number | name
//	number = digits, at most 2147483647
//	name   = neither empty nor beginning with "-" or "+", without ":" "," "/", spaces and control characters
//
// What looks like a number is a number: it is never looked up as a name, so that an entry called "1000" with user 0 in an
// image's passwd file changes nothing. What looks like neither is an error; nothing falls back to root.
//
// Start reading at Resolve.
package ids

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// Max is the highest user or group number: the kernel knows higher ones, but much software takes them for negative.
const Max = 1<<31 - 1

// maxFile bounds /etc/passwd and /etc/group in bytes; maxName bounds a name.
const (
	maxFile = 10 << 20
	maxName = 256
)

// User is who a process runs as.
type User struct {
	UID, GID int
	// Groups are the supplementary groups, in ascending order, each once. GID is always among them: a process must not
	// lose its own group when it changes to another, for files that deny a group would then be open to it.
	Groups []int
	Name   string // as in passwd, "" where it has no entry
	Home   string // as in passwd, "/" where it has no entry
}

// Resolve finds who spec means by etc/passwd and etc/group of root, and adds the groups named or numbered in extra
// (docker run --group-add). An empty spec, or an empty user part, is user 0. Without a group part the group is the one
// in passwd (0 where there is no entry) and the memberships in etc/group count; with one they do not. A missing file is
// an empty one. Bad grammar, a number out of range and a file that is no regular one or above 10 MiB are
// errkind.Invalid; an unknown name is errkind.NotFound with Docker's words.
func Resolve(root *fsroot.Root, spec string, extra []string) (User, error) {
	userPart, groupPart, hasGroup := strings.Cut(spec, ":")
	if hasGroup && groupPart == "" {
		return User{}, errkind.New(errkind.Invalid, "user %q: the group after the colon is empty", spec)
	}
	if userPart == "" {
		userPart = "0"
	}
	uid, numeric, err := parse(userPart)
	if err != nil {
		return User{}, err
	}
	user := User{UID: uid, Home: "/"}
	passwd, err := lines(root, "etc/passwd", 7)
	if err != nil {
		return User{}, err
	}
	found := false
	for _, line := range passwd { // name:password:uid:gid:comment:home:shell
		if numeric && !isNumber(line[2], uid) || !numeric && line[0] != userPart {
			continue
		}
		if user.UID, err = number(line[2]); err == nil {
			user.GID, err = number(line[3])
		}
		if err != nil {
			return User{}, errkind.New(errkind.Invalid, "user %s: its entry in /etc/passwd: %w", userPart, err)
		}
		if user.Name = line[0]; strings.HasPrefix(line[5], "/") && !hasControl(line[5]) {
			user.Home = line[5]
		}
		found = true
		break
	}
	if !found && !numeric {
		return User{}, errkind.New(errkind.NotFound, "unable to find user %s: no matching entries in passwd file: add it to the image (RUN adduser), or give a numeric id", userPart)
	}
	if !hasGroup && user.Name == "" && len(extra) == 0 {
		user.Groups = []int{user.GID}
		return user, nil
	}
	groups, err := lines(root, "etc/group", 4)
	if err != nil {
		return User{}, err
	}
	if hasGroup {
		if user.GID, err = group(groups, groupPart); err != nil {
			return User{}, err
		}
	} else if user.Name != "" {
		for _, line := range groups { // name:password:gid:members
			if !slices.Contains(strings.Split(line[3], ","), user.Name) {
				continue
			}
			gid, err := number(line[2])
			if err != nil {
				return User{}, errkind.New(errkind.Invalid, "group %s of user %s: %w", line[0], user.Name, err)
			}
			user.Groups = append(user.Groups, gid)
		}
	}
	for _, name := range extra {
		gid, err := group(groups, name)
		if err != nil {
			return User{}, err
		}
		user.Groups = append(user.Groups, gid)
	}
	user.Groups = append(user.Groups, user.GID)
	slices.Sort(user.Groups)
	user.Groups = slices.Compact(user.Groups)
	return user, nil
}

func group(groups [][]string, name string) (int, error) {
	gid, numeric, err := parse(name)
	if err != nil || numeric {
		return gid, err
	}
	for _, line := range groups {
		if line[0] == name {
			if gid, err = number(line[2]); err != nil {
				return 0, errkind.New(errkind.Invalid, "group %s: its entry in /etc/group: %w", name, err)
			}
			return gid, nil
		}
	}
	return 0, errkind.New(errkind.NotFound, "unable to find group %s: no matching entries in group file: add it to the image (RUN addgroup), or give a numeric id", name)
}

// parse sorts one part of a spec into number or name.
func parse(who string) (n int, numeric bool, err error) {
	if who == "" || len(who) > maxName || !utf8.ValidString(who) || hasControl(who) ||
		strings.ContainsAny(who, ":,/ \t") || who[0] == '-' || who[0] == '+' {
		return 0, false, errkind.New(errkind.Invalid, "user or group %q: it is neither a number nor a name", who)
	}
	if strings.Trim(who, "0123456789") != "" {
		return 0, false, nil
	}
	n, err = number(who)
	if err != nil {
		return 0, true, errkind.New(errkind.Invalid, "user or group %s: %w", who, err)
	}
	return n, true, nil
}

var errRange = errors.New("uids and gids must be in range 0-2147483647")

// number reads digits and nothing else: no sign, no space, no other base.
func number(s string) (int, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, errRange
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > Max {
		return 0, errRange
	}
	return int(n), nil
}

func isNumber(s string, want int) bool {
	n, err := number(s)
	return err == nil && n == want
}

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

// lines returns the entries of a file, each with at least the given number of fields (missing ones at the end are
// empty). Comments and lines with fewer than three fields are no entries.
func lines(root *fsroot.Root, name string, fields int) ([][]string, error) {
	b, err := root.ReadFile(name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out [][]string
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\r\n")
		parts := strings.Split(line, ":")
		if strings.HasPrefix(line, "#") || len(parts) < 3 || parts[0] == "" {
			continue
		}
		for len(parts) < fields {
			parts = append(parts, "")
		}
		out = append(out, parts)
	}
	return out, nil
}
