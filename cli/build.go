package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/spf13/cobra"

	"pier/api/docker"
	"pier/client"
	"pier/lib/atomicfile"
)

type buildFlags struct {
	file, target, platform, network, iidfile, progress, cgroupParent string
	memory, memorySwap, shmSize, cpusetCPUs, cpusetMems              string
	tags, args, labels, addHosts, cacheFrom, ulimits                 []string
	noCache, pull, quiet, rm, forceRm                                bool
	cpuShares, cpuPeriod, cpuQuota                                   int64
}

func newBuild(a *app) *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use: "build [OPTIONS] PATH | URL | -", Short: "Build an image from a Dockerfile", Args: exactArgs(1),
		Example: "  pier build -t web .\n  pier build -t web -f docker/Dockerfile --target test .",
		RunE: a.withClient(func(ctx context.Context, c *client.Client, args []string) error {
			return a.build(ctx, c, &f, args[0])
		}),
	}
	s := cmd.Flags()
	s.StringVarP(&f.file, "file", "f", "", `Name of the Dockerfile (default: "PATH/Dockerfile"; "-" reads it from stdin)`)
	s.StringArrayVarP(&f.tags, "tag", "t", nil, `Name and optionally a tag in the "name:tag" format`)
	s.StringArrayVar(&f.args, "build-arg", nil, "Set build-time variables")
	s.StringArrayVar(&f.labels, "label", nil, "Set metadata for an image")
	s.StringVar(&f.target, "target", "", "Set the target build stage to build")
	s.BoolVar(&f.noCache, "no-cache", false, "Do not use cache when building the image")
	s.BoolVar(&f.pull, "pull", false, "Always attempt to pull a newer version of the image")
	s.BoolVarP(&f.quiet, "quiet", "q", false, "Suppress the build output and print image ID on success")
	s.StringVar(&f.progress, "progress", "auto", `Type of progress output ("auto", "plain", "tty")`)
	s.StringVar(&f.platform, "platform", "", "Set platform if server is multi-platform capable")
	s.StringVar(&f.network, "network", "default", "Set the networking mode for the RUN instructions during build")
	s.StringArrayVar(&f.addHosts, "add-host", nil, `Add a custom host-to-IP mapping ("host:ip")`)
	s.StringVar(&f.iidfile, "iidfile", "", "Write the image ID to the file")
	s.StringArrayVar(&f.cacheFrom, "cache-from", nil, "Images to consider as cache sources")
	s.StringVarP(&f.memory, "memory", "m", "", "Memory limit")
	s.StringVar(&f.memorySwap, "memory-swap", "", "Swap limit equal to memory plus swap: -1 to enable unlimited swap")
	s.StringVar(&f.shmSize, "shm-size", "", `Size of "/dev/shm"`)
	s.Int64VarP(&f.cpuShares, "cpu-shares", "c", 0, "CPU shares (relative weight)")
	s.Int64Var(&f.cpuPeriod, "cpu-period", 0, "Limit the CPU CFS (Completely Fair Scheduler) period")
	s.Int64Var(&f.cpuQuota, "cpu-quota", 0, "Limit the CPU CFS (Completely Fair Scheduler) quota")
	s.StringVar(&f.cpusetCPUs, "cpuset-cpus", "", "CPUs in which to allow execution (0-3, 0,1)")
	s.StringVar(&f.cpusetMems, "cpuset-mems", "", "MEMs in which to allow execution (0-3, 0,1)")
	s.StringVar(&f.cgroupParent, "cgroup-parent", "", "Set the parent cgroup for the RUN instructions during build")
	s.StringArrayVar(&f.ulimits, "ulimit", nil, "Ulimit options")
	s.BoolVar(&f.rm, "rm", true, "Remove intermediate containers after a successful build")
	s.BoolVar(&f.forceRm, "force-rm", false, "Always remove intermediate containers")
	return cmd
}

func (a *app) build(ctx context.Context, c *client.Client, f *buildFlags, source string) error {
	query, err := f.query(a.env)
	if err != nil {
		return err
	}
	mode, err := a.progressMode(f)
	if err != nil {
		return err
	}
	content, dockerfile, err := a.buildContext(source, f.file)
	if err != nil {
		return err
	}
	if content != nil {
		defer content.Close()
	} else {
		query.Set("remote", source)
	}
	if dockerfile != "" {
		query.Set("dockerfile", dockerfile)
	}
	var body io.Reader
	if content != nil {
		body = content
	}
	query.Set(docker.VertexParameter, "1")
	answer, err := c.BuildImage(ctx, body, query, nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	id, err := a.showBuild(answer, f, mode)
	if err != nil {
		return err
	}
	if f.iidfile != "" {
		if err := atomicfile.Write(f.iidfile, []byte(id), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) progressMode(f *buildFlags) (string, error) {
	_, terminal := terminalOf(a.Out)
	switch f.progress {
	case "tty":
		if !terminal {
			return "", invalid("--progress=tty needs a terminal as standard output")
		}
		return "tty", nil
	case "plain":
		return "plain", nil
	case "auto", "":
		if terminal && a.env("TERM") != "dumb" {
			return "tty", nil
		}
		return "plain", nil
	}
	return "", invalid("invalid progress mode %q: use auto, plain or tty", f.progress)
}

// showBuild prints a build's progress and returns the image's ID.
func (a *app) showBuild(answer io.Reader, f *buildFlags, mode string) (string, error) {
	var view buildView
	switch {
	case f.quiet:
		view = quietView{}
	case mode == "tty":
		view = newTreeView(a.Out, a.colours())
	default:
		view = newPlainView(a.Out)
	}
	var id string
	vertices := false
	aux := func(m jsonstream.Message) bool {
		if m.ID == docker.VertexMessageID {
			var v docker.BuildVertex
			if json.Unmarshal(*m.Aux, &v) == nil {
				vertices = true
				view.vertex(v)
			}
			return true
		}
		var result struct{ ID string }
		if json.Unmarshal(*m.Aux, &result) == nil && result.ID != "" {
			id = result.ID
		}
		return true
	}
	// The text that other clients read says the same once more; it is shown only where no vertices come.
	text := &switchedWriter{w: a.Out, off: func() bool { return f.quiet || vertices }}
	err := a.progress(answer, text, aux)
	view.close(err == nil)
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", errors.New("the daemon ended the build without naming an image")
	}
	switch {
	case f.quiet:
		a.printf("%s\n", id)
	case vertices:
		a.printf("Built %s%s\n", id, namesText(f.tags))
	}
	return id, nil
}

func namesText(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	names := make([]string, len(tags))
	for i, t := range tags {
		names[i] = withTag(t)
	}
	return " as " + strings.Join(names, ", ")
}

// switchedWriter drops what is written while off.
type switchedWriter struct {
	w   io.Writer
	off func() bool
}

func (s *switchedWriter) Write(p []byte) (int, error) {
	if s.off() {
		return len(p), nil
	}
	return s.w.Write(p)
}

// query turns the flags into the parameters of POST /build.
func (f *buildFlags) query(env func(string) string) (url.Values, error) {
	q := url.Values{"t": f.tags}
	set := func(key, value string) {
		if value != "" {
			q.Set(key, value)
		}
	}
	object := func(key string, value any) {
		data, _ := json.Marshal(value) // strings, maps and slices of them always encode
		q.Set(key, string(data))
	}
	if len(f.args) > 0 {
		args := map[string]*string{}
		for _, pair := range f.args {
			key, value, ok := strings.Cut(pair, "=")
			if !ok {
				value = env(key)
				ok = value != ""
			}
			args[key] = nil
			if ok {
				args[key] = &value
			}
		}
		object("buildargs", args)
	}
	if len(f.labels) > 0 {
		object("labels", toMap(f.labels))
	}
	if len(f.cacheFrom) > 0 {
		object("cachefrom", f.cacheFrom)
	}
	if len(f.ulimits) > 0 {
		var limits []*units.Ulimit
		for _, u := range f.ulimits {
			limit, err := units.ParseUlimit(u)
			if err != nil {
				return nil, invalid("invalid argument %q for --ulimit: %w", u, err)
			}
			limits = append(limits, limit)
		}
		object("ulimits", limits)
	}
	for _, size := range []struct{ key, flag, value string }{{"memory", "memory", f.memory}, {"memswap", "memory-swap", f.memorySwap}, {"shmsize", "shm-size", f.shmSize}} {
		if size.value == "-1" {
			q.Set(size.key, "-1")
			continue
		}
		n, err := bytesOf(size.flag, size.value)
		if err != nil {
			return nil, err
		}
		if n != 0 {
			q.Set(size.key, strconv.FormatInt(n, 10))
		}
	}
	for key, n := range map[string]int64{"cpushares": f.cpuShares, "cpuperiod": f.cpuPeriod, "cpuquota": f.cpuQuota} {
		if n != 0 {
			q.Set(key, strconv.FormatInt(n, 10))
		}
	}
	for key, on := range map[string]bool{"nocache": f.noCache, "pull": f.pull, "q": f.quiet, "rm": f.rm, "forcerm": f.forceRm} {
		if on {
			q.Set(key, "1")
		}
	}
	set("target", f.target)
	set("platform", f.platform)
	set("networkmode", f.network)
	set("cpusetcpus", f.cpusetCPUs)
	set("cpusetmems", f.cpusetMems)
	set("cgroupparent", f.cgroupParent)
	if len(f.addHosts) > 0 {
		q["extrahosts"] = f.addHosts
	}
	return q, nil
}

// buildContext opens what to send: a tar stream and the Dockerfile's name in it. A nil stream means that the daemon
// fetches source itself.
func (a *app) buildContext(source, file string) (io.ReadCloser, string, error) {
	switch {
	case source == "-" && file == "-":
		return nil, "", invalid("invalid argument: can't use stdin for both build context and Dockerfile")
	case source == "-":
		if _, terminal := terminalOf(a.In); terminal {
			return nil, "", invalid("nothing to build from: pipe a Dockerfile or a tar archive into standard input, or name a folder")
		}
		return io.NopCloser(a.In), file, nil
	case strings.HasPrefix(source, "http://"), strings.HasPrefix(source, "https://"), strings.HasPrefix(source, "git@"), strings.HasPrefix(source, "git://"):
		return nil, file, nil
	}
	info, err := os.Stat(source)
	if err != nil {
		return nil, "", fmt.Errorf("unable to prepare context: path %q not found", source)
	}
	if !info.IsDir() {
		return nil, "", fmt.Errorf("unable to prepare context: %q is not a folder", source)
	}
	return packContext(source, file, a.In)
}
