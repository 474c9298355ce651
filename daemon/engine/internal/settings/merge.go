package settings

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"pier/daemon/engine/internal/outside"
	"pier/lib/errkind"
)

// Clone returns a deep copy by way of JSON, which is how settings rest on disk: nothing of the caller's is shared.
func Clone[T any](v *T) (*T, error) {
	out := new(T)
	if v == nil {
		return out, nil
	}
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "invalid container configuration: %w", err)
	}
	return out, nil
}

// Merge fills in c, which the caller owns, from the image's configuration; what c says wins. The image's slices and
// maps are copied, never shared between containers. An image whose health check asks an address of its choice is Invalid,
// where the user has not named another check.
func Merge(c *container.Config, img dockerspec.DockerOCIImageConfig) error {
	if c.User == "" {
		c.User = img.User
	}
	for p := range img.ExposedPorts {
		port, err := network.ParsePort(p)
		if err != nil {
			continue // an image's nonsense does not make its containers impossible
		}
		if c.ExposedPorts == nil {
			c.ExposedPorts = network.PortSet{}
		}
		c.ExposedPorts[port] = struct{}{}
	}
	c.Env = mergeEnv(img.Env, c.Env)
	if len(img.Labels) > 0 {
		labels := maps.Clone(img.Labels)
		maps.Copy(labels, c.Labels)
		c.Labels = labels
	}
	mergeCommand(c, img)
	if c.WorkingDir == "" {
		c.WorkingDir = img.WorkingDir
	}
	for v := range img.Volumes {
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		c.Volumes[v] = struct{}{}
	}
	if c.StopSignal == "" {
		c.StopSignal = img.StopSignal
	}
	if len(c.Shell) == 0 {
		c.Shell = slices.Clone(img.Shell)
	}
	users := c.Healthcheck != nil && len(c.Healthcheck.Test) > 0
	c.Healthcheck = mergeHealth(c.Healthcheck, img.Healthcheck)
	if users || c.Healthcheck == nil {
		return nil
	}
	if p, err := outside.Parse(c.Healthcheck.Test); err == nil && p != nil && p.Elsewhere() {
		return errkind.New(errkind.Invalid, "the image's health check %q names an address, and an image may name ports only: give the container "+
			"a health check of its own, or none", c.Healthcheck.Test)
	}
	return nil
}

// mergeCommand: an entry point given by the user, even an empty one ([""] by the CLI), drops the image's command too.
func mergeCommand(c *container.Config, img dockerspec.DockerOCIImageConfig) {
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = slices.Clone(img.Cmd)
		}
		if c.Entrypoint == nil {
			c.Entrypoint = slices.Clone(img.Entrypoint)
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" {
		c.Entrypoint = nil
	}
}

// mergeEnv puts the user's variables after those of the image that they do not replace.
func mergeEnv(image, user []string) []string {
	named := map[string]bool{}
	for _, e := range user {
		name, _, _ := strings.Cut(e, "=")
		named[name] = true
	}
	var out []string
	for _, e := range image {
		if name, _, ok := strings.Cut(e, "="); ok && name != "" && !named[name] && !strings.ContainsRune(e, 0) {
			out = append(out, e)
		}
	}
	return append(out, user...)
}

func mergeHealth(user, img *container.HealthConfig) *container.HealthConfig {
	if img == nil {
		return user
	}
	out := *img
	out.Test = slices.Clone(img.Test)
	if user == nil {
		return &out
	}
	if len(user.Test) > 0 {
		out.Test = user.Test
	}
	if user.Interval != 0 {
		out.Interval = user.Interval
	}
	if user.Timeout != 0 {
		out.Timeout = user.Timeout
	}
	if user.StartPeriod != 0 {
		out.StartPeriod = user.StartPeriod
	}
	if user.StartInterval != 0 {
		out.StartInterval = user.StartInterval
	}
	if user.Retries != 0 {
		out.Retries = user.Retries
	}
	return &out
}

// Command is the argument list a container starts with.
func Command(c *container.Config) []string { return slices.Concat(c.Entrypoint, c.Cmd) }
