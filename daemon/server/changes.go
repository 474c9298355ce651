package server

import (
	"maps"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/network"

	"pier/lib/errkind"
)

// applyChanges carries out the argument "changes" of an import: Dockerfile instructions that only describe an image.
func applyChanges(c *dockerspec.DockerOCIImageConfig, changes []string) error {
	for _, line := range changes {
		if strings.TrimSpace(line) == "" {
			continue
		}
		parsed, err := parser.Parse(strings.NewReader(line))
		if err != nil {
			return errkind.New(errkind.Invalid, "change %q: %w", line, err)
		}
		for _, node := range parsed.AST.Children {
			instruction, err := instructions.ParseInstruction(node)
			if err != nil {
				return errkind.New(errkind.Invalid, "change %q: %w", line, err)
			}
			if err := applyChange(c, strings.ToLower(node.Value), instruction); err != nil {
				return err
			}
		}
	}
	return nil
}

func applyChange(c *dockerspec.DockerOCIImageConfig, name string, instruction any) error {
	switch i := instruction.(type) {
	case *instructions.CmdCommand:
		c.Cmd = commandLine(i.ShellDependantCmdLine)
	case *instructions.EntrypointCommand:
		c.Entrypoint = commandLine(i.ShellDependantCmdLine)
	case *instructions.EnvCommand:
		for _, e := range i.Env {
			c.Env = setEnv(c.Env, e.Key, e.Value)
		}
	case *instructions.LabelCommand:
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		for _, l := range i.Labels {
			c.Labels[l.Key] = l.Value
		}
	case *instructions.ExposeCommand:
		for _, port := range i.Ports {
			ports, err := network.ParsePortRange(port)
			if err != nil {
				return errkind.New(errkind.Invalid, "change \"EXPOSE %s\": %w", port, err)
			}
			for p := range ports.All() {
				c.ExposedPorts = with(c.ExposedPorts, p.String())
			}
		}
	case *instructions.VolumeCommand:
		for _, path := range i.Volumes {
			c.Volumes = with(c.Volumes, path)
		}
	case *instructions.UserCommand:
		c.User = i.User
	case *instructions.WorkdirCommand:
		c.WorkingDir = i.Path
	case *instructions.StopSignalCommand:
		c.StopSignal = i.Signal
	case *instructions.OnbuildCommand:
		c.OnBuild = append(c.OnBuild, i.Expression)
	case *instructions.HealthCheckCommand:
		c.Healthcheck = i.Health
	default:
		return errkind.New(errkind.Invalid, "%s is not a valid change command: a change may be CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or WORKDIR", name)
	}
	return nil
}

func commandLine(c instructions.ShellDependantCmdLine) []string {
	if c.PrependShell {
		return append([]string{"/bin/sh", "-c"}, strings.Join(c.CmdLine, " "))
	}
	return c.CmdLine
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
