package completion

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
	"github.com/spf13/cobra"

	"pier/cli/internal/contexts"
	"pier/client"
)

// patience is how long somebody who pressed a key waits for an answer.
const patience = 3 * time.Second

// ask calls f with a client; where there is none, or f fails, nothing is offered.
func (s *Source) ask(f func(ctx context.Context, c *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.Client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := f(ctx, c)
	if err != nil {
		list = nil
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// containers offers those that run, or all, that pass which (nil: every one).
func (s *Source) containers(all bool, which func(*container.Summary) bool) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return s.ask(func(ctx context.Context, c *client.Client) ([]string, error) {
			list, err := c.Containers().List(ctx, client.ListOptions{All: all})
			var names []string
			for i := range list {
				if which != nil && !which(&list[i]) {
					continue
				}
				for _, n := range list[i].Names {
					names = append(names, described(strings.TrimPrefix(n, "/"), list[i].Image+", "+list[i].Status))
				}
			}
			return names, err
		})
	}
}

// published offers the published ports of the containers that are named already, or of all.
func (s *Source) published(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.ask(func(ctx context.Context, c *client.Client) ([]string, error) {
		list, err := c.Containers().List(ctx, client.ListOptions{})
		var ports []string
		for _, one := range list {
			name := strings.TrimPrefix(one.Names[0], "/")
			if len(args) > 0 && !slices.Contains(args, name) {
				continue
			}
			for _, p := range one.Ports {
				if p.PublicPort != 0 && !p.IP.Is6() { // those of both families go together
					ports = append(ports, described(fmt.Sprintf("%d:%d/%s", p.PublicPort, p.PrivatePort, p.Type), name))
				}
			}
		}
		return ports, err
	})
}

// checkpoints offers those of the container that is named already.
func (s *Source) checkpoints(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	dir, _ := cmd.Flags().GetString("checkpoint-dir")
	return s.ask(func(ctx context.Context, c *client.Client) ([]string, error) {
		list, err := c.Checkpoints().List(ctx, args[0], dir)
		var names []string
		for _, one := range list {
			names = append(names, one.Name)
		}
		return names, err
	})
}

// removable offers stopped containers, and all of them after --force.
func (s *Source) removable(stopped, all completer) completer {
	return func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		if force, _ := cmd.Flags().GetBool("force"); force {
			return all(cmd, args, start)
		}
		return stopped(cmd, args, start)
	}
}

// copied completes `cp`: the name of a container and a colon, or a local path, as often as one wants.
func (s *Source) copied(all completer) completer {
	return func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		if strings.Contains(start, ":") {
			return nothing(cmd, args, start)
		}
		list, _ := all(cmd, args, start)
		return colons(list, start)
	}
}

// volumeSpec completes --volume: the name of a volume and a colon, or a local path.
func (s *Source) volumeSpec(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	list, _ := s.volumes(cmd, args, start)
	return colons(list, start)
}

// colons puts a colon behind the names that begin with start; without any the shell completes files.
func colons(list []string, start string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, word := range list {
		if name, text, _ := strings.Cut(word, "\t"); strings.HasPrefix(name, start) {
			out = append(out, described(name+":", text))
		}
	}
	if len(out) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return out, cobra.ShellCompDirectiveNoSpace
}

func (s *Source) images(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return s.ask(func(ctx context.Context, c *client.Client) ([]string, error) {
		list, err := c.Images().List(ctx, false, nil)
		var names []string
		for _, i := range list {
			for _, tag := range i.RepoTags {
				if !strings.Contains(tag, "<none>") {
					names = append(names, strings.TrimSuffix(tag, ":latest"))
				}
			}
		}
		return names, err
	})
}

func (s *Source) networks(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return s.ask(func(ctx context.Context, c *client.Client) ([]string, error) {
		list, err := c.Networks().List(ctx, nil)
		var names []string
		for _, n := range list {
			names = append(names, described(n.Name, n.Driver))
		}
		return names, err
	})
}

func (s *Source) volumes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return s.ask(func(ctx context.Context, c *client.Client) ([]string, error) {
		answer, err := c.Volumes().List(ctx, nil)
		var names []string
		for _, v := range answer.Volumes {
			names = append(names, described(v.Name, v.Driver))
		}
		return names, err
	})
}

// contexts are files of this machine.
func (s *Source) contexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names := []string{contexts.Default}
	list, _ := contexts.Open(s.Env).List()
	for _, c := range list {
		names = append(names, described(c.Name, c.Metadata.Description))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// anything is what `inspect` takes, or what its --type says.
func (s *Source) anything(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	kinds := []struct {
		name     string
		complete completer
	}{{"container", s.containers(true, nil)}, {"image", s.images}, {"network", s.networks}, {"volume", s.volumes}}
	wanted := ""
	if f := cmd.Flags().Lookup("type"); f != nil {
		wanted = f.Value.String()
	}
	var out []string
	for _, k := range kinds {
		if wanted == "" || wanted == k.name {
			list, _ := k.complete(cmd, args, start)
			out = append(out, list...)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// network offers networks and the containers whose network can be shared.
func (s *Source) network() completer {
	shared := s.mode()
	return func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		list, directive := s.networks(cmd, args, start)
		more, _ := shared(cmd, args, start)
		return append(list, more...), directive
	}
}

// mode offers fixed modes of a namespace, and the containers whose namespace can be shared.
func (s *Source) mode(fixed ...string) completer {
	running := s.containers(false, nil)
	return func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		names, directive := running(cmd, args, start)
		out := slices.Clone(fixed)
		for _, n := range names {
			out = append(out, "container:"+n)
		}
		return out, directive
	}
}

// filter completes KEY=VALUE.
func (s *Source) filter(keys map[string]string) completer {
	return func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		key, _, typed := strings.Cut(start, "=")
		if !typed {
			var out []string
			for _, k := range slices.Sorted(maps.Keys(keys)) {
				out = append(out, k+"=")
			}
			return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		var values []string
		switch kind := keys[key]; kind {
		case "containers":
			values, _ = s.containers(true, nil)(cmd, args, start)
		case "images":
			values, _ = s.images(cmd, args, start)
		case "networks":
			values, _ = s.networks(cmd, args, start)
		case "volumes":
			values, _ = s.volumes(cmd, args, start)
		default:
			values = strings.Fields(kind)
		}
		out := make([]string, len(values))
		for i, v := range values {
			out[i] = key + "=" + v
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// What a daemon can be asked for by `info`.
func log(i *system.Info) []string      { return i.Plugins.Log }
func networks(i *system.Info) []string { return i.Plugins.Network }
func volumes(i *system.Info) []string  { return i.Plugins.Volume }

func (s *Source) plugins(of func(*system.Info) []string) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return s.ask(func(ctx context.Context, c *client.Client) ([]string, error) {
			info, err := c.System().Info(ctx)
			return of(&info), err
		})
	}
}

func (s *Source) runtimes(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
	return s.plugins(func(i *system.Info) []string { return slices.Sorted(maps.Keys(i.Runtimes)) })(cmd, args, start)
}

func described(word, text string) string {
	if text == "" {
		return word
	}
	return cobra.CompletionWithDesc(word, text)
}
