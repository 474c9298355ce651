package settings

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// Link is one legacy link (docker run --link): another container on the default bridge, known inside by an alias.
type Link struct{ Ref, Alias string }

// ParseLink reads "CONTAINER[:ALIAS]"; the alias may be written as a path, as inspect shows it.
func ParseLink(s string) (Link, error) {
	ref, alias, given := strings.Cut(s, ":")
	ref = strings.TrimPrefix(ref, "/")
	if !given {
		alias = ref
	}
	l := Link{Ref: ref, Alias: path.Base(alias)}
	if ref == "" || alias == "" || strings.Contains(alias, ":") || !madeOf(l.Alias, "_.-") {
		return l, refuse("invalid format %s: want CONTAINER:ALIAS for a link", s)
	}
	return l, nil
}

// CheckLinks refuses links where the network mode allows none.
func CheckLinks(h *container.HostConfig) error {
	switch {
	case len(h.Links) == 0:
		return nil
	case h.NetworkMode.IsHost():
		return refuse("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
	case h.NetworkMode.IsContainer():
		return refuse("conflicting options: container type network can't be used with links. This would result in undefined behavior")
	}
	for _, s := range h.Links {
		if _, err := ParseLink(s); err != nil {
			return err
		}
	}
	return nil
}

// LinkEnv are the variables that tell of a linked container: its name as seen by the one with the link, its exposed ports
// at address, and its own environment.
func LinkEnv(parent, alias string, address netip.Addr, child *container.Config) (env []string) {
	prefix := strings.ReplaceAll(strings.ToUpper(alias), "-", "_")
	add := func(format string, args ...any) { env = append(env, prefix+fmt.Sprintf(format, args...)) }
	ports := slices.SortedFunc(maps.Keys(child.ExposedPorts), func(a, b network.Port) int {
		return cmp.Or(cmp.Compare(a.Num(), b.Num()), cmp.Compare(b.Proto(), a.Proto())) // udp before tcp, as Docker has it
	})
	for i, p := range ports {
		url := fmt.Sprintf("%s://%s", p.Proto(), netip.AddrPortFrom(address, p.Num()))
		if i == 0 {
			add("_PORT=%s", url)
		}
		name := fmt.Sprintf("_PORT_%d_%s", p.Num(), strings.ToUpper(string(p.Proto())))
		add("%s=%s", name, url)
		add("%s_ADDR=%s", name, address)
		add("%s_PORT=%d", name, p.Num())
		add("%s_PROTO=%s", name, p.Proto())
	}
	add("_NAME=/%s/%s", parent, alias)
	for _, e := range child.Env {
		if name, value, ok := strings.Cut(e, "="); ok && name != "HOME" && name != "PATH" {
			add("_ENV_%s=%s", name, value)
		}
	}
	return env
}
