package request

import (
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/spf13/pflag"

	"pier/api/docker"
)

// Container are the flags that `run` and `create` share. The exported ones do not end in the request alone, or not at all.
type Container struct {
	Attach           []string // streams by name; empty: those that -i asks for
	Interactive, TTY bool
	Name, Platform   string
	Pull             string // always, missing or never
	CIDFile          string
	Quiet            bool // no progress of a pull
	Remove           bool // --rm
	// Secrets are those of --secret, read by Request.
	Secrets []docker.NewSecret

	env, envFiles, labels, labelFiles, annotations            []string
	entrypoint, workdir, user, hostname, domainname           string
	groups, capAdd, capDrop, securityOpts                     []string
	privileged, readOnly, init                                bool
	publish, expose                                           []string
	publishAll                                                bool
	networks, networkAliases, links, addHosts                 []string
	dns, dnsOptions, dnsSearch                                []string
	ip, ip6, mac                                              string
	volumes, volumesFrom, mounts, tmpfs, devices, deviceRules []string
	volumeDriver, gpus                                        string
	memory, memorySwap, memoryReservation, shmSize            string
	memorySwappiness                                          int64
	cpus                                                      string
	cpuShares, cpuPeriod, cpuQuota, cpuRTPeriod, cpuRTRuntime int64
	cpusetCPUs, cpusetMems                                    string
	pidsLimit                                                 int64
	blkioWeight                                               uint16
	blockIO                                                   blockIO
	seldom                                                    seldom
	oomKillDisable                                            bool
	oomScoreAdj                                               int
	ulimits, sysctls, storageOpts, secrets                    []string
	restart, stopSignal                                       string
	stopTimeout                                               int
	health                                                    health
	logDriver                                                 string
	logOpts                                                   []string
	pid, ipc, uts, userns, cgroupns, cgroupParent, runtime    string
	set                                                       *pflag.FlagSet
}

// Register adds the flags to s.
func (f *Container) Register(s *pflag.FlagSet) {
	f.set = s
	s.SetInterspersed(false)
	list := func(p *[]string, name, short, text string) { s.VarP((*words)(p), name, short, text) }
	word := func(p *string, name, short, value, text string) { s.StringVarP(p, name, short, value, text) }
	toggle := func(p *bool, name, short, text string) { s.BoolVarP(p, name, short, false, text) }

	list(&f.Attach, "attach", "a", "Attach to STDIN, STDOUT or STDERR")
	toggle(&f.Interactive, "interactive", "i", "Keep STDIN open even if not attached")
	toggle(&f.TTY, "tty", "t", "Allocate a pseudo-TTY")
	word(&f.Name, "name", "", "", "Assign a name to the container")
	word(&f.Platform, "platform", "", f.Platform, "Set platform if server is multi-platform capable")
	word(&f.Pull, "pull", "", "missing", `Pull image before creating ("always", "missing", "never")`)
	word(&f.CIDFile, "cidfile", "", "", "Write the container ID to the file")
	toggle(&f.Quiet, "quiet", "q", "Suppress the pull output")
	list(&f.env, "env", "e", "Set environment variables")
	list(&f.envFiles, "env-file", "", "Read in a file of environment variables")
	list(&f.labels, "label", "l", "Set meta data on a container")
	list(&f.labelFiles, "label-file", "", "Read in a line delimited file of labels")
	s.VarP(ListOf("map", &f.annotations), "annotation", "", "Add an annotation to the container (passed through to the OCI runtime)")
	word(&f.entrypoint, "entrypoint", "", "", "Overwrite the default ENTRYPOINT of the image")
	word(&f.workdir, "workdir", "w", "", "Working directory inside the container")
	word(&f.user, "user", "u", "", "Username or UID (format: <name|uid>[:<group|gid>])")
	word(&f.hostname, "hostname", "h", "", "Container host name")
	word(&f.domainname, "domainname", "", "", "Container NIS domain name")
	list(&f.groups, "group-add", "", "Add additional groups to join")
	list(&f.capAdd, "cap-add", "", "Add Linux capabilities")
	list(&f.capDrop, "cap-drop", "", "Drop Linux capabilities")
	list(&f.securityOpts, "security-opt", "", "Security options")
	toggle(&f.privileged, "privileged", "", "Give extended privileges to this container")
	toggle(&f.readOnly, "read-only", "", "Mount the container's root filesystem as read only")
	toggle(&f.init, "init", "", "Run an init inside the container that forwards signals and reaps processes")
	toggle(&f.Remove, "rm", "", "Automatically remove the container and its anonymous volumes when it exits")

	list(&f.publish, "publish", "p", "Publish a container's port(s) to the host")
	list(&f.expose, "expose", "", "Expose a port or a range of ports")
	toggle(&f.publishAll, "publish-all", "P", "Publish all exposed ports to random ports")
	s.VarP(ListOf("network", &f.networks), "network", "", "Connect a container to a network")
	s.VarP(ListOf("network", &f.networks), "net", "", "Connect a container to a network")
	list(&f.networkAliases, "network-alias", "", "Add network-scoped alias for the container")
	list(&f.networkAliases, "net-alias", "", "Add network-scoped alias for the container")
	list(&f.links, "link", "", "Add link to another container")
	list(&f.addHosts, "add-host", "", "Add a custom host-to-IP mapping (host:ip)")
	list(&f.dns, "dns", "", "Set custom DNS servers")
	list(&f.dnsOptions, "dns-option", "", "Set DNS options")
	list(&f.dnsOptions, "dns-opt", "", "Set DNS options")
	list(&f.dnsSearch, "dns-search", "", "Set custom DNS search domains")
	word(&f.ip, "ip", "", "", "IPv4 address (e.g., 172.30.100.104)")
	word(&f.ip6, "ip6", "", "", "IPv6 address (e.g., 2001:db8::33)")
	word(&f.mac, "mac-address", "", "", "Container MAC address (e.g., 92:d0:c6:0a:29:33)")

	list(&f.volumes, "volume", "v", "Bind mount a volume")
	list(&f.volumesFrom, "volumes-from", "", "Mount volumes from the specified container(s)")
	s.VarP(ListOf("mount", &f.mounts), "mount", "", "Attach a filesystem mount to the container")
	list(&f.tmpfs, "tmpfs", "", "Mount a tmpfs directory")
	list(&f.devices, "device", "", "Add a host device to the container")
	s.VarP(ListOf("secret", &f.secrets), "secret", "", "Give the container a file that it alone can read (src=FILE or env=VAR, target=NAME|PATH, uid=, gid=, mode=)")
	s.VarP(&text{&f.gpus, "gpu-request"}, "gpus", "", "GPU devices to add to the container ('all' to pass all GPUs)")
	list(&f.deviceRules, "device-cgroup-rule", "", "Add a rule to the cgroup allowed devices list")
	word(&f.volumeDriver, "volume-driver", "", "", "Optional volume driver for the container")

	f.limits(s)
	f.blockIO.register(s)
	f.seldom.register(s)
	s.Int64Var(&f.memorySwappiness, "memory-swappiness", -1, "Tune container memory swappiness (0 to 100)")
	s.VarP(&text{&f.shmSize, "bytes"}, "shm-size", "", "Size of /dev/shm")
	toggle(&f.oomKillDisable, "oom-kill-disable", "", "Disable OOM Killer")
	s.IntVar(&f.oomScoreAdj, "oom-score-adj", 0, "Tune host's OOM preferences (-1000 to 1000)")
	s.VarP(ListOf("ulimit", &f.ulimits), "ulimit", "", "Ulimit options")
	s.VarP(ListOf("map", &f.sysctls), "sysctl", "", "Sysctl options")
	list(&f.storageOpts, "storage-opt", "", "Storage driver options for the container")

	word(&f.restart, "restart", "", "no", "Restart policy to apply when a container exits")
	word(&f.stopSignal, "stop-signal", "", "", "Signal to stop the container")
	s.IntVar(&f.stopTimeout, "stop-timeout", 0, "Timeout (in seconds) to stop a container")
	f.health.register(s)
	word(&f.logDriver, "log-driver", "", "", "Logging driver for the container")
	list(&f.logOpts, "log-opt", "", "Log driver options")
	word(&f.pid, "pid", "", "", "PID namespace to use")
	word(&f.ipc, "ipc", "", "", "IPC mode to use")
	word(&f.uts, "uts", "", "", "UTS namespace to use")
	word(&f.userns, "userns", "", "", "User namespace to use")
	word(&f.cgroupns, "cgroupns", "", "", "Cgroup namespace to use (host|private)")
	word(&f.cgroupParent, "cgroup-parent", "", "", "Optional parent cgroup for the container")
	word(&f.runtime, "runtime", "", "", "Runtime to use for this container")
	s.SortFlags = true
	for _, hidden := range []string{"net", "net-alias", "dns-opt"} {
		s.Lookup(hidden).Hidden = true
	}
}

func (f *Container) changed(name string) bool { return f.set.Changed(name) }

// Request turns the flags into what the API takes. args are the image, the command and its arguments.
func (f *Container) Request(args []string, env func(string) string) (container.CreateRequest, error) {
	config := &container.Config{
		Image: args[0], Cmd: args[1:], Hostname: f.hostname, Domainname: f.domainname, User: f.user, WorkingDir: f.workdir,
		Tty: f.TTY, OpenStdin: f.Interactive, StopSignal: f.stopSignal,
	}
	if len(config.Cmd) == 0 {
		config.Cmd = nil
	}
	host := &container.HostConfig{
		CapAdd: f.capAdd, CapDrop: f.capDrop, GroupAdd: f.groups, Privileged: f.privileged, ReadonlyRootfs: f.readOnly, AutoRemove: f.Remove,
		PublishAllPorts: f.publishAll, Links: f.links, DNSOptions: f.dnsOptions, DNSSearch: f.dnsSearch,
		VolumesFrom: f.volumesFrom, VolumeDriver: f.volumeDriver, OomScoreAdj: f.oomScoreAdj,
		PidMode: container.PidMode(f.pid), IpcMode: container.IpcMode(f.ipc), UTSMode: container.UTSMode(f.uts),
		UsernsMode: container.UsernsMode(f.userns), CgroupnsMode: container.CgroupnsMode(f.cgroupns), Runtime: f.runtime,
	}
	networking := &network.NetworkingConfig{}
	steps := []func() error{
		func() error { return f.process(config, env) },
		func() error { return f.health.set(config) },
		func() error { return f.resources(host) },
		func() error { return f.ports(config, host) },
		func() error { return f.network(host, networking) },
		func() error { return f.storage(config, host, env) },
		func() error { return f.readSecrets(env) },
		func() error { return f.policy(host, env) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return container.CreateRequest{}, err
		}
	}
	return container.CreateRequest{Config: config, HostConfig: host, NetworkingConfig: networking}, nil
}

// process fills in what runs and with which environment.
func (f *Container) process(config *container.Config, env func(string) string) error {
	var err error
	if config.Env, err = Variables(f.envFiles, f.env, env); err != nil {
		return err
	}
	labels, err := pairs("label", f.labelFiles, f.labels, nil)
	if err != nil {
		return err
	}
	config.Labels = Map(labels)
	if f.changed("entrypoint") {
		config.Entrypoint = []string{f.entrypoint}
		if f.entrypoint == "" {
			config.Entrypoint = []string{""} // the API's way to say: none
		}
	}
	if f.changed("stop-timeout") {
		config.StopTimeout = &f.stopTimeout
	}
	return f.attachments(config)
}

func (f *Container) attachments(config *container.Config) error {
	for _, stream := range f.Attach {
		switch strings.ToLower(stream) {
		case "stdin":
			config.AttachStdin = true
		case "stdout":
			config.AttachStdout = true
		case "stderr":
			config.AttachStderr = true
		default:
			return invalid("valid streams are STDIN, STDOUT and STDERR, not %q", stream)
		}
	}
	if len(f.Attach) == 0 {
		config.AttachStdin, config.AttachStdout, config.AttachStderr = f.Interactive, true, true
	}
	config.StdinOnce = config.OpenStdin && config.AttachStdin
	return nil
}
