package engine

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/moby/moby/api/types/container"
	dnet "github.com/moby/moby/api/types/network"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/shim"
	"pier/daemon/engine/internal/process"
	"pier/daemon/engine/internal/settings"
	"pier/daemon/engine/internal/streams"
	"pier/daemon/network"
	"pier/lib/errkind"
	"pier/lib/id"
)

// Step runs one step of a build and returns its exit code: the same process path as a container's, without record, name
// or log. When ctx ends the process is killed. Whatever the outcome, everything the step had is gone when Step returns,
// but for what it wrote to its root and mounts. A process that could not start is an error of kind Invalid.
func (e *Engine) Step(ctx context.Context, r StepRequest) (exitCode int, err error) {
	if r.ID == "" {
		r.ID = id.New()
	}
	if len(r.Args) == 0 || r.Rootfs == nil {
		return 0, errkind.New(errkind.Invalid, "build step %s: a command and a root file system are needed", r.ID)
	}
	config := &container.Config{Hostname: r.Hostname, User: r.User, WorkingDir: r.Cwd, Env: r.Env, Cmd: r.Args}
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(r.Network), ShmSize: r.ShmSize, Privileged: r.Privileged, ReadonlyRootfs: r.ReadOnly,
		ExtraHosts: r.ExtraHosts, Resources: r.Resources,
	}
	step := (id.Short(r.ID) + "000000000000")[:12]
	if _, err := settings.Complete(config, host, step, e.host); err != nil {
		return 0, err
	}
	box, err := e.o.Networks.Join(ctx, network.JoinOptions{ContainerID: r.ID, Name: "build-" + step, Hostname: config.Hostname,
		Mode: r.Network, Sysctls: process.NetworkSysctls(host), ExtraHosts: r.ExtraHosts, Endpoints: map[string]*dnet.EndpointSettings{}})
	if err != nil {
		return 0, err
	}
	defer e.o.Networks.Leave(r.ID)
	if box.Netns != nil {
		defer box.Netns.Close()
	}
	files, err := e.stepFiles(r.ID, config.Hostname, box)
	defer os.RemoveAll(e.stepDir(r.ID))
	if err != nil {
		return 0, err
	}
	start, err := e.stepStart(r, config, host, files, box.Netns != nil)
	if err != nil {
		return 0, err
	}
	return e.runStep(ctx, r, start, box.Netns)
}

func (e *Engine) stepDir(id string) string { return filepath.Join(e.o.Root, stepPrefix+id) }

// stepPrefix marks the folders of build steps among those of containers; what a crash leaves of them is swept at Open.
const stepPrefix = "step-"

func (e *Engine) stepFiles(id, hostname string, box *network.Sandbox) (map[string]string, error) {
	dir := e.stepDir(id)
	if err := os.Mkdir(dir, 0o710); err != nil {
		return nil, errkind.New(errkind.Internal, "build step %s: %w", id, err)
	}
	files := map[string]string{}
	for name, content := range map[string][]byte{"hostname": []byte(hostname + "\n"), "hosts": box.Hosts, "resolv.conf": box.ResolvConf} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, content, 0o644); err != nil {
			return nil, errkind.New(errkind.Internal, "build step %s: %w", id, err)
		}
		files["/etc/"+name] = p
	}
	return files, nil
}

func (e *Engine) stepStart(r StepRequest, config *container.Config, host *container.HostConfig, files map[string]string, netns bool) (*shim.Start, error) {
	s, err := process.Container(process.Input{ID: r.ID, Config: config, Host: host, Files: files, Args: r.Args,
		Cgroup: filepath.Join("/", e.o.CgroupParent, r.ID), Join: map[specs.LinuxNamespaceType]string{}, Root: r.Rootfs})
	if err != nil {
		return nil, err
	}
	s.Mounts = append(s.Mounts, r.Mounts...)
	filter, err := process.Filter(&e.filters, host, s.Process.Capabilities.Bounding)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(s)
	if err != nil {
		return nil, errkind.New(errkind.Internal, "build step %s: %w", r.ID, err)
	}
	return &shim.Start{ID: r.ID, Spec: body, Seccomp: filter, HasRootfs: true, HasNetns: netns}, nil
}

func (e *Engine) runStep(ctx context.Context, r StepRequest, start *shim.Start, netns *os.File) (int, error) {
	task := shim.TaskRef{ID: r.ID}
	background := context.WithoutCancel(ctx)
	exits := e.steps.add(r.ID)
	defer e.steps.remove(r.ID)
	live, err := e.o.Custody.Attach(e.ctx, shim.Attach{TaskRef: task, Stdout: true, Stderr: true})
	if err != nil {
		return 0, err
	}
	defer live.Close()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if _, err := e.o.Custody.Start(background, start, r.Rootfs, netns); err != nil {
		_, err := process.Explain("failed to create task for container: OCI runtime create failed: unable to start container process", r.Args[0], err)
		return 0, err
	}
	defer func() { _ = e.o.Custody.Delete(background, task) }()
	copied := make(chan error, 1)
	go func() {
		stderr := r.Stderr
		if stderr == nil {
			stderr = r.Stdout
		}
		copied <- streams.Split(live, r.Stdout, stderr)
	}()
	x, err := waitStep(ctx, exits)
	if err != nil {
		_ = e.o.Custody.Signal(background, shim.Signal{TaskRef: task, Signal: settings.SIGKILL, All: true})
		if _, late := waitStep(e.ctx, exits); late != nil {
			err = errors.Join(err, late)
		}
	}
	cerr := <-copied
	switch {
	case err != nil:
		return 0, err
	case cerr != nil:
		return 0, errkind.New(errkind.Internal, "build step %s: its output broke off: %w", r.ID, cerr)
	case x.Unknown:
		return 0, errkind.New(errkind.Internal, "build step %s: nobody could learn its exit code", r.ID)
	}
	return x.Code, nil
}
