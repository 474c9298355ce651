package command

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"pier/kernel/fsroot"
	"pier/kernel/ids"
	"pier/lib/errkind"
)

// environment returns what a process is given of env: each name once, with the last of its values, and a HOME. dockerd and
// containerd leave HOME to the runtime; it is that of the user in the passwd file of the folder root, "/" where it has none.
func environment(env []string, uid uint32, root string) ([]string, error) {
	var names, out []string
	for _, e := range env {
		name, _, ok := strings.Cut(e, "=")
		if name == "" || !ok || strings.ContainsRune(e, 0) {
			return nil, errkind.New(errkind.Invalid, "environment variable %q: want NAME=VALUE without a zero byte", e)
		}
		if i := slices.Index(names, name); i >= 0 {
			out[i] = e
			continue
		}
		names, out = append(names, name), append(out, e)
	}
	if i := slices.Index(names, "HOME"); i < 0 {
		out = append(out, "HOME="+home(uid, root))
	} else if out[i] == "HOME=" {
		out[i] += home(uid, root)
	}
	return out, nil
}

// home is "/" also where the passwd file makes no sense: nobody asked for it.
func home(uid uint32, dir string) string {
	root, err := fsroot.Open(dir)
	if err != nil {
		return "/"
	}
	defer root.Close()
	user, err := ids.Resolve(root, strconv.FormatUint(uint64(uid), 10), nil)
	if err != nil {
		return "/"
	}
	return user.Home
}

// withEnvironment returns spec with the environment of its first process complete.
func withEnvironment(spec *specs.Spec, bundle string) (*specs.Spec, error) {
	root := bundle
	if spec.Root != nil {
		if root = spec.Root.Path; !filepath.IsAbs(root) {
			root = filepath.Join(bundle, root)
		}
	}
	with, process := *spec, *spec.Process
	var err error
	process.Env, err = environment(process.Env, process.User.UID, root)
	with.Process = &process
	return &with, err
}
