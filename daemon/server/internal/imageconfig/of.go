package imageconfig

import (
	"maps"
	"slices"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
)

// Of is what an image keeps of a container's configuration. Command line, shell and health check are c's own: they are
// replaced later on, never written to.
func Of(c *container.Config) dockerspec.DockerOCIImageConfig {
	var out dockerspec.DockerOCIImageConfig
	out.User, out.Env, out.Entrypoint, out.Cmd, out.WorkingDir = c.User, append([]string(nil), c.Env...), c.Entrypoint, c.Cmd, c.WorkingDir
	out.StopSignal, out.OnBuild, out.Shell, out.Healthcheck = c.StopSignal, append([]string(nil), c.OnBuild...), c.Shell, c.Healthcheck
	for p := range c.ExposedPorts {
		out.ExposedPorts = with(out.ExposedPorts, p.String())
	}
	for v := range c.Volumes {
		out.Volumes = with(out.Volumes, v)
	}
	for k, v := range c.Labels {
		if out.Labels == nil {
			out.Labels = map[string]string{}
		}
		out.Labels[k] = v
	}
	return out
}

// Merged is c, with what c leaves open filled in from another configuration, as the Engine API has it for POST /commit:
// lists of names are joined, and for a variable or label that both have c's value holds.
func Merged(c, from dockerspec.DockerOCIImageConfig) dockerspec.DockerOCIImageConfig {
	pick := func(to *string, from string) {
		if *to == "" {
			*to = from
		}
	}
	pick(&c.User, from.User)
	pick(&c.WorkingDir, from.WorkingDir)
	pick(&c.StopSignal, from.StopSignal)
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = from.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = from.Entrypoint
		}
	}
	env := slices.Clone(from.Env)
	for _, e := range c.Env {
		key, value, _ := strings.Cut(e, "=")
		env = setEnv(env, key, value)
	}
	c.Env = env
	for p := range from.ExposedPorts {
		c.ExposedPorts = with(c.ExposedPorts, p)
	}
	for v := range from.Volumes {
		c.Volumes = with(c.Volumes, v)
	}
	for k, v := range from.Labels {
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		if _, own := c.Labels[k]; !own {
			c.Labels[k] = v
		}
	}
	if len(c.OnBuild) == 0 {
		c.OnBuild = from.OnBuild
	}
	if len(c.Shell) == 0 {
		c.Shell = from.Shell
	}
	if c.Healthcheck == nil {
		c.Healthcheck = from.Healthcheck
	}
	return c
}

func setEnv(env []string, key, value string) []string {
	for i, e := range env {
		if k, _, _ := strings.Cut(e, "="); k == key {
			env[i] = key + "=" + value
			return env
		}
	}
	return append(env, key+"="+value)
}

func with(set map[string]struct{}, key string) map[string]struct{} {
	set = maps.Clone(set)
	if set == nil {
		set = map[string]struct{}{}
	}
	set[key] = struct{}{}
	return set
}
