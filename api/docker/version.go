package docker

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a version of the Engine API, such as 1.47. Versions are compared with == and Less.
type Version struct{ Major, Minor int }

// The versions pierd speaks. Max is that of the github.com/moby/moby/api module in use; a test holds them together.
var (
	MinVersion = Version{1, 40}
	MaxVersion = Version{1, 56}
)

// ParseVersion reads "1.47". Anything but two decimal numbers of at most three digits is an error.
func ParseVersion(s string) (Version, error) {
	major, minor, ok := strings.Cut(s, ".")
	if ok && digits(major) && digits(minor) {
		a, _ := strconv.Atoi(major)
		b, _ := strconv.Atoi(minor)
		return Version{a, b}, nil
	}
	return Version{}, fmt.Errorf("invalid API version %q: want two numbers such as %s", s, MaxVersion)
}

func digits(s string) bool {
	return s != "" && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}

// String returns the version as it stands in a path, without the "v".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Less reports whether v is older than w.
func (v Version) Less(w Version) bool {
	return v.Major < w.Major || v.Major == w.Major && v.Minor < w.Minor
}

// Before reports whether v is older than 1.minor: the question that handlers ask.
func (v Version) Before(minor int) bool { return v.Less(Version{1, minor}) }
