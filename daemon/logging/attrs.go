package logging

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	texttemplate "text/template"
	"time"
)

// Subject is the container whose output is logged. The methods are the words of a tag.
type Subject struct {
	ContainerID      string
	ContainerName    string // with its slash
	ContainerImageID string
	ContainerImage   string // as it was asked for
	Entrypoint       string
	Args             []string
	Created          time.Time
	ContainerEnv     []string
	ContainerLabels  map[string]string
}

const shortID = 12

func short(id string) string {
	_, digest, ok := strings.Cut(id, ":")
	if !ok {
		digest = id
	}
	return digest[:min(shortID, len(digest))]
}

// ID is the short identifier of the container.
func (s Subject) ID() string { return short(s.ContainerID) }

// FullID is the identifier of the container.
func (s Subject) FullID() string { return s.ContainerID }

// Name is the container's name, without its slash.
func (s Subject) Name() string { return strings.TrimPrefix(s.ContainerName, "/") }

// ImageID is the short identifier of the image.
func (s Subject) ImageID() string { return short(s.ContainerImageID) }

// ImageFullID is the identifier of the image.
func (s Subject) ImageFullID() string { return s.ContainerImageID }

// ImageName is the image as it was asked for.
func (s Subject) ImageName() string { return s.ContainerImage }

// Command is what the container runs.
func (s Subject) Command() string {
	return strings.Join(append([]string{s.Entrypoint}, s.Args...), " ")
}

// DaemonName is the daemon's, as Docker has it.
func (s Subject) DaemonName() string { return "docker" }

// Hostname is the machine's.
func (s Subject) Hostname() (string, error) { return os.Hostname() }

// tagWords are the functions of a tag.
func tagWords() texttemplate.FuncMap {
	return texttemplate.FuncMap{
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
		"split": strings.Split, "join": strings.Join, "lower": strings.ToLower, "upper": strings.ToUpper,
		"truncate": func(s string, n int) string { return s[:min(max(n, 0), len(s))] },
	}
}

func parseTag(tag string) (*texttemplate.Template, error) {
	return texttemplate.New("tag").Option("missingkey=error").Funcs(tagWords()).Parse(tag)
}

// template checks a tag.
func template(tag string) error {
	t, err := parseTag(tag)
	if err == nil {
		err = t.Execute(new(strings.Builder), Subject{})
	}
	return err
}

func regular(expression string) error {
	_, err := regexp.Compile(expression)
	return err
}

// Tag returns the tag that the options ask for, or the short identifier.
func (c Config) Tag(s Subject) (string, error) {
	tag := c.options["tag"]
	if tag == "" {
		return s.ID(), nil
	}
	t, err := parseTag(tag)
	if err != nil {
		return "", refuse("invalid log opt tag=%s: %w", tag, err)
	}
	var b strings.Builder
	if err := t.Execute(&b, s); err != nil {
		return "", refuse("invalid log opt tag=%s: %w", tag, err)
	}
	return b.String(), nil
}

// Attributes returns the labels and variables that the options ask for, and the tag if one was given; nil where there are
// none.
func (c Config) Attributes(s Subject) (map[string]string, error) {
	attrs, err := c.chosen(s)
	if err != nil {
		return nil, err
	}
	if c.options["tag"] != "" {
		if attrs["tag"], err = c.Tag(s); err != nil {
			return nil, err
		}
	}
	if len(attrs) == 0 {
		return nil, nil
	}
	return attrs, nil
}

// chosen returns the labels and variables that the options ask for.
func (c Config) chosen(s Subject) (map[string]string, error) {
	attrs := map[string]string{}
	env := map[string]string{}
	for _, e := range s.ContainerEnv {
		if name, value, ok := strings.Cut(e, "="); ok {
			env[name] = value
		}
	}
	for _, from := range []struct {
		option string
		values map[string]string
	}{{"labels", s.ContainerLabels}, {"env", env}} {
		for name := range strings.SplitSeq(c.options[from.option], ",") {
			if v, ok := from.values[name]; ok {
				attrs[name] = v
			}
		}
		expression := c.options[from.option+"-regex"]
		if expression == "" {
			continue
		}
		r, err := regexp.Compile(expression)
		if err != nil {
			return nil, refuse("invalid log opt %s-regex=%s: %w", from.option, expression, err)
		}
		for name, v := range from.values {
			if r.MatchString(name) {
				attrs[name] = v
			}
		}
	}
	return attrs, nil
}
