package imageconfig

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/sys/signal"

	"pier/lib/errkind"
)

// Apply carries out changes, Dockerfile instructions that only describe an image, one after the other. They mean what they
// mean in a Dockerfile: quotes and variables (those of c.Env) are resolved, a relative WORKDIR begins at the one there is, and an
// ENTRYPOINT takes away the CMD that was made for another one. What cannot be so is refused (Invalid); c is half changed then.
func Apply(c *dockerspec.DockerOCIImageConfig, changes []string) error {
	a := applier{config: c}
	for _, line := range changes {
		if strings.TrimSpace(line) == "" {
			continue
		}
		parsed, err := parser.Parse(strings.NewReader(line))
		if err != nil {
			return errkind.New(errkind.Invalid, "change %q: %w", line, err)
		}
		a.lex = shell.NewLex(parsed.EscapeToken)
		for _, node := range parsed.AST.Children {
			instruction, err := instructions.ParseInstruction(node)
			if err != nil {
				return errkind.New(errkind.Invalid, "change %q: %w", line, err)
			}
			if err := a.expand(instruction); err != nil {
				return errkind.New(errkind.Invalid, "change %q: %w", line, err)
			}
			if err := a.apply(strings.ToLower(node.Value), instruction); err != nil {
				return err
			}
		}
	}
	return nil
}

type applier struct {
	config *dockerspec.DockerOCIImageConfig
	lex    *shell.Lex
	cmdSet bool // one of the changes was a CMD, which an ENTRYPOINT then leaves alone
}

// expand resolves quotes and variables where the Dockerfile language does.
func (a *applier) expand(instruction any) error {
	env := shell.EnvsFromSlice(a.config.Env)
	switch i := instruction.(type) {
	case *instructions.ExposeCommand: // one word may become several
		var ports []string
		for _, word := range i.Ports {
			words, err := a.lex.ProcessWords(word, env)
			if err != nil {
				return err
			}
			ports = append(ports, words...)
		}
		i.Ports = ports
	case instructions.SupportsSingleWordExpansion:
		return i.Expand(func(word string) (string, error) {
			word, _, err := a.lex.ProcessWord(word, env)
			return word, err
		})
	}
	return nil
}

func (a *applier) apply(name string, instruction any) error {
	c := a.config
	switch i := instruction.(type) {
	case *instructions.CmdCommand:
		c.Cmd, a.cmdSet = a.commandLine(i.ShellDependantCmdLine), true
	case *instructions.EntrypointCommand:
		c.Entrypoint = a.commandLine(i.ShellDependantCmdLine)
		if len(c.Entrypoint) > 0 && !a.cmdSet {
			c.Cmd = nil
		}
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
		return a.expose(i.Ports)
	case *instructions.VolumeCommand:
		for _, path := range i.Volumes {
			c.Volumes = with(c.Volumes, path)
		}
	case *instructions.UserCommand:
		c.User = i.User
	case *instructions.WorkdirCommand:
		if !path.IsAbs(i.Path) {
			i.Path = path.Join("/", c.WorkingDir, i.Path)
		}
		c.WorkingDir = path.Clean(i.Path)
	case *instructions.StopSignalCommand:
		if _, err := signal.ParseSignal(i.Signal); err != nil {
			return errkind.New(errkind.Invalid, "change \"STOPSIGNAL %s\": %w", i.Signal, err)
		}
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

func (a *applier) expose(words []string) error {
	for _, word := range words {
		ports, err := network.ParsePortRange(word)
		if err != nil {
			return errkind.New(errkind.Invalid, "change \"EXPOSE %s\": %w", word, err)
		}
		if !slices.Contains([]network.IPProtocol{network.TCP, network.UDP, network.SCTP}, ports.Proto()) {
			return errkind.New(errkind.Invalid, "change \"EXPOSE %s\": invalid proto: %s: want tcp, udp or sctp", word, ports.Proto())
		}
		for p := range ports.All() {
			a.config.ExposedPorts = with(a.config.ExposedPorts, p.String())
		}
	}
	return nil
}

func (a *applier) commandLine(c instructions.ShellDependantCmdLine) []string {
	if !c.PrependShell {
		return c.CmdLine
	}
	through := a.config.Shell
	if len(through) == 0 {
		through = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(through), strings.Join(c.CmdLine, " "))
}
