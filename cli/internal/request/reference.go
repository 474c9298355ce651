package request

import "strings"

// CheckTag refuses what cannot be the name of an image, before anything is done for it: [HOST[:PORT]/]PATH[:TAG]. The
// daemon checks it again; this is what saves sending a build context in vain.
func CheckTag(name string) error {
	wrong := func(why string) error { return invalid("invalid reference format: %s", why) }
	repo, tag := name, ""
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		if repo, tag = name[:i], name[i+1:]; tag == "" {
			return wrong("the tag is empty")
		}
	}
	if len(tag) > 128 || strings.Trim(tag, letters+upper+digits+"_.-") != "" || tag != "" && strings.ContainsRune(".-", rune(tag[0])) {
		return wrong("the tag " + tag + " has more than letters, digits, _, . and -")
	}
	if host, path, ok := strings.Cut(repo, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		if strings.Trim(host, letters+upper+digits+".:-[]") != "" {
			return wrong("the registry " + host + " is no host name")
		}
		repo = path
	}
	if strings.Trim(repo, letters+digits+"_.-/") != "" {
		if strings.ToLower(repo) != repo {
			return wrong("repository name (" + repo + ") must be lowercase")
		}
		return wrong("the name " + repo + " has more than letters, digits, _, . and -")
	}
	for _, part := range strings.Split(repo, "/") {
		if part == "" || strings.Trim(part, "_.-") != part {
			return wrong("each part of " + repo + " begins and ends with a letter or a digit")
		}
	}
	return nil
}

// WithTag adds :latest to a name that has neither tag nor digest.
func WithTag(name string) string {
	last := name[strings.LastIndex(name, "/")+1:]
	if strings.ContainsAny(last, ":@") {
		return name
	}
	return name + ":latest"
}

// SplitTag cuts name[:tag]; a port's colon is not a tag's.
func SplitTag(name string) (repo, tag string) {
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		return name[:i], name[i+1:]
	}
	return name, ""
}

const (
	letters = "abcdefghijklmnopqrstuvwxyz"
	upper   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// tags is a list of image names, each checked as it is given.
type tags struct{ *words }

// Set implements pflag.Value.
func (t *tags) Set(s string) error {
	if err := CheckTag(s); err != nil {
		return err
	}
	return t.words.Set(s)
}
