package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/patternmatcher/ignorefile"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/build/internal/tree"
	"pier/lib/errkind"
)

// Bounds of what is read from a context before the build begins, in bytes.
const (
	maxDockerfile   = 4 << 20
	maxIgnore       = 256 << 10
	maxIgnoreRules  = 10_000
	defaultName     = "Dockerfile"
	ignoreName      = ".dockerignore"
	dockerfileLabel = "Dockerfile"
)

// readDockerfile finds the Dockerfile in the context, then takes out of the context what .dockerignore excludes.
func readDockerfile(ctx context.Context, t *tree.Memory, name string) ([]byte, string, error) {
	if name == "" {
		name = defaultName
		if _, err := tree.Resolve(t, name, true); errors.Is(err, fs.ErrNotExist) {
			if _, err := tree.Resolve(t, strings.ToLower(name), true); err == nil {
				name = strings.ToLower(name)
			}
		}
	}
	if clean := path.Clean(name); clean == ".." || strings.HasPrefix(clean, "../") {
		return nil, "", errkind.New(errkind.Invalid, "forbidden path outside the build context: %s", name)
	}
	text, err := tree.ReadFile(t, name, maxDockerfile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", errkind.New(errkind.Invalid, "Cannot locate specified Dockerfile: %s", name)
	}
	if err != nil {
		return nil, "", err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, "", errkind.New(errkind.Invalid, "the Dockerfile (%s) cannot be empty", name)
	}
	return text, name, ignore(ctx, t, name)
}

// ignore applies <Dockerfile>.dockerignore or, without one, .dockerignore.
func ignore(ctx context.Context, t *tree.Memory, dockerfile string) error {
	for _, name := range []string{dockerfile + ignoreName, ignoreName} {
		raw, err := tree.ReadFile(t, name, maxIgnore)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		rules, err := ignorefile.ReadAll(bytes.NewReader(raw))
		if err != nil {
			return errkind.New(errkind.Invalid, "read %s: %w", name, err)
		}
		if len(rules) > maxIgnoreRules {
			return errkind.New(errkind.Invalid, "read %s: more than %d rules", name, maxIgnoreRules)
		}
		return t.Exclude(ctx, rules)
	}
	return nil
}

// conversion is what a Dockerfile became.
type conversion struct {
	definition *pb.Definition
	result     *dockerfile2llb.Result
	steps      []step
}

// step is one instruction of the stages that are built, in the order of the Dockerfile.
type step struct {
	line  int    // its first
	end   int    // its last
	text  string // as written, in one line
	stage string
}

// convert turns the Dockerfile into a definition.
func (j *job) convert(ctx context.Context, text []byte) (conversion, error) {
	var c conversion
	stages, args, err := parse(text)
	if err != nil {
		return c, dockerfileError(err)
	}
	if err := checkSources(stages); err != nil {
		return c, err
	}
	opt, err := j.convertOptions(text)
	if err != nil {
		return c, err
	}
	if c.result, err = dockerfile2llb.Dockerfile2LLB(ctx, text, opt); err != nil {
		if j.resolver.failure() != nil {
			return c, j.resolver.failure()
		}
		return c, dockerfileError(err)
	}
	def, err := c.result.State.Marshal(ctx)
	if err != nil {
		return c, dockerfileError(err)
	}
	c.definition = def.ToPB()
	c.steps = listSteps(stages, args, j.req.Target, c.definition)
	return c, nil
}

func (j *job) convertOptions(text []byte) (dockerfile2llb.ConvertOpt, error) {
	req := &j.req
	caps := pb.Caps.CapSet(pb.Caps.All())
	opt := dockerfile2llb.ConvertOpt{
		MetaResolver: j.resolver,
		LLBCaps:      &caps,
		SourceMap:    llb.NewSourceMap(nil, j.dockerfile, dockerfileLabel, text),
		Warn:         j.warn,
		Config: dockerui.Config{
			BuildArgs: map[string]string{}, Labels: req.Labels, Target: req.Target, ImageResolveMode: llb.ResolveModePreferLocal,
			LinterConfig: &linter.Config{},
		},
	}
	for k, v := range req.BuildArgs {
		if v != nil {
			opt.BuildArgs[k] = *v
		}
	}
	if req.Pull {
		opt.ImageResolveMode = llb.ResolveModeForcePull
	}
	if j.platform != nil {
		opt.TargetPlatform = j.platform
	}
	for _, u := range req.Ulimits {
		opt.Ulimits = append(opt.Ulimits, &pb.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	for _, h := range req.ExtraHosts {
		name, addr, ok := strings.Cut(h, ":")
		if !ok {
			name, addr, ok = strings.Cut(h, "=")
		}
		ip := net.ParseIP(strings.Trim(addr, "[]"))
		if !ok || name == "" || ip == nil {
			return opt, errkind.New(errkind.Invalid, "invalid extra host %q: it must be name:address", h)
		}
		opt.ExtraHosts = append(opt.ExtraHosts, llb.HostIP{Host: name, IP: ip})
	}
	return opt, nil
}

func (j *job) warn(rule, description, url, message string, location []parser.Range) {
	line := 0
	if len(location) > 0 {
		line = location[0].Start.Line
	}
	j.report.warning(fmt.Sprintf("%s: %s (line %d)", rule, message, line))
}

func parse(text []byte) ([]instructions.Stage, []instructions.ArgCommand, error) {
	ast, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	return instructions.Parse(ast.AST, nil)
}

// dockerfileError gives an error of the Dockerfile library its kind and, where it knows it, the line.
func dockerfileError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	text := err.Error()
	var at *parser.LocationError
	if errors.As(err, &at) && !strings.Contains(text, "line ") && len(at.Locations) > 0 && len(at.Locations[0]) > 0 {
		return errkind.New(errkind.Invalid, "dockerfile error on line %d: %w", at.Locations[0][0].Start.Line, err)
	}
	return errkind.New(errkind.Invalid, "%w", err)
}

// checkSources refuses sources that lead out of the context. (In the graph they could not: the names are cut at its top.)
func checkSources(stages []instructions.Stage) error {
	check := func(verb, from string, sources []string) error {
		for _, s := range sources {
			clean := path.Clean(s)
			if from == "" && (clean == ".." || strings.HasPrefix(clean, "../")) {
				return errkind.New(errkind.Invalid, "%s failed: forbidden path outside the build context: %s ()", verb, s)
			}
		}
		return nil
	}
	for _, st := range stages {
		for _, cmd := range st.Commands {
			var err error
			switch c := cmd.(type) {
			case *instructions.CopyCommand:
				err = check("COPY", c.From, c.SourcePaths)
			case *instructions.AddCommand:
				err = check("ADD", "", c.SourcePaths)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// listSteps numbers the instructions of the stages that the definition needs.
func listSteps(stages []instructions.Stage, args []instructions.ArgCommand, target string, def *pb.Definition) []step {
	last := len(stages) - 1
	for i, st := range stages {
		if target != "" && strings.EqualFold(st.Name, target) {
			last = i
		}
	}
	used := usedLines(def)
	needed := make([]bool, len(stages))
	needed[last] = true
	for i := last; i >= 0; i-- {
		end := 1 << 30
		if i+1 < len(stages) {
			end = firstLine(stages[i+1].Location)
		}
		for line := range used {
			if line >= firstLine(stages[i].Location) && line < end {
				needed[i] = true
			}
		}
		for b := 0; needed[i] && b < i; b++ {
			if stages[b].Name != "" && strings.EqualFold(stages[b].Name, stages[i].BaseName) {
				needed[b] = true
			}
		}
	}
	var steps []step
	for _, a := range args {
		steps = append(steps, step{line: firstLine(a.Location()), end: lastLine(a.Location()), text: oneLine(a.String())})
	}
	for i, st := range stages {
		if !needed[i] || i > last {
			continue
		}
		steps = append(steps, step{line: firstLine(st.Location), end: lastLine(st.Location), text: oneLine(st.SourceCode), stage: st.Name})
		for _, cmd := range st.Commands {
			text := cmd.Name()
			if s, ok := cmd.(fmt.Stringer); ok {
				text = s.String()
			}
			steps = append(steps, step{line: firstLine(cmd.Location()), end: lastLine(cmd.Location()), text: oneLine(text), stage: st.Name})
		}
	}
	return steps
}

func usedLines(def *pb.Definition) map[int]bool {
	used := map[int]bool{}
	for _, l := range def.GetSource().GetLocations() {
		for _, loc := range l.GetLocations() {
			for _, r := range loc.GetRanges() {
				used[int(r.GetStart().GetLine())] = true
			}
		}
	}
	return used
}

func firstLine(ranges []parser.Range) int {
	if len(ranges) == 0 {
		return 0
	}
	return ranges[0].Start.Line
}

func lastLine(ranges []parser.Range) int {
	if len(ranges) == 0 {
		return 0
	}
	return ranges[len(ranges)-1].End.Line
}

// oneLine joins a text of several lines; a heredoc is cut after its first.
func oneLine(s string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(first)
}

// parsePlatform reads os/arch[/variant].
func parsePlatform(s string) (*ocispec.Platform, error) {
	if s == "" {
		return nil, nil
	}
	p, err := platforms.Parse(s)
	if err != nil {
		return nil, errkind.New(errkind.Invalid, "invalid platform %q: %w", s, err)
	}
	if p.OS != "linux" {
		return nil, errkind.New(errkind.Unsupported, "platform %s: only linux images can be built here", s)
	}
	p = platforms.Normalize(p)
	return &p, nil
}
