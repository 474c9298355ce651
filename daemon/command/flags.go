package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"pier/api/shim"
	"pier/daemon"
	"pier/lib/errkind"
)

// defaultFile is read where it exists and --config-file says nothing else.
const defaultFile = "/etc/pier/pierd.json"

// maxFile bounds the configuration file in bytes.
const maxFile = 1 << 20

// invocation is a command line after flags and file.
type invocation struct {
	config        daemon.Config
	file          string
	validate      bool
	version, help bool
	removeData    bool   // cleanup only
	word          string // "", "stop", "upgrade" or "cleanup"
	tls           bool
	dns           []string
	runtimes      []string // name=path
	flags         *pflag.FlagSet
	groups        []group
}

// group is a heading of the help text with its flags.
type group struct {
	title string
	flags []string
}

// fileKeys are the keys of the configuration file whose flag is called otherwise: those that hold lists.
var fileKeys = map[string]string{"hosts": "host", "insecure-registries": "insecure-registry", "labels": "label", "log-opts": "log-opt", "cdi-spec-dirs": "cdi-spec-dir", "runtimes": "add-runtime"}

// notInFile are flags that only make sense on a command line.
var notInFile = []string{"config-file", "validate", "version", "help", "data"}

// parse reads a command line without the program's name, and the configuration file.
func parse(args []string) (*invocation, error) {
	in := &invocation{config: daemon.Default(), file: defaultFile}
	in.define()
	if err := in.flags.Parse(args); err != nil {
		return nil, errkind.New(errkind.Invalid, "%w", err)
	}
	switch rest := in.flags.Args(); {
	case len(rest) == 1 && (rest[0] == "stop" || rest[0] == "upgrade" || rest[0] == "cleanup"):
		in.word = rest[0]
	case len(rest) > 0:
		return nil, errkind.New(errkind.Invalid, "unknown command %q: pierd knows stop, upgrade and cleanup; see pierd --help", rest[0])
	}
	if in.version || in.help {
		return in, nil
	}
	if in.removeData && in.word != "cleanup" {
		return nil, errkind.New(errkind.Invalid, "--data belongs to pierd cleanup")
	}
	if err := in.readFile(); err != nil {
		return nil, err
	}
	if in.flags.Changed("tls") {
		in.config.TLS = &in.tls
	}
	for _, s := range in.dns {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, errkind.New(errkind.Invalid, "invalid dns %q: want an IP address", s)
		}
		in.config.DNS = append(in.config.DNS, addr)
	}
	if err := in.absolute(); err != nil {
		return nil, err
	}
	for _, s := range in.runtimes {
		name, path, _ := strings.Cut(s, "=")
		in.addRuntime(name, path, nil)
	}
	return in, in.config.Validate()
}

// absolute makes the paths of files and folders whole: relative ones count from the folder pierd was started in.
func (in *invocation) absolute() error {
	c := &in.config
	for _, p := range []*string{&c.DataRoot, &c.ExecRoot, &c.Pidfile, &c.Runtime, &c.TLSCACert, &c.TLSCert, &c.TLSKey} {
		if *p == "" {
			continue
		}
		whole, err := filepath.Abs(*p)
		if err != nil {
			return errkind.New(errkind.Invalid, "path %q: %w", *p, err)
		}
		*p = whole
	}
	return nil
}

// define names all flags. Their meaning and, but for the list types, their names are those of the file's keys.
func (in *invocation) define() {
	c := &in.config
	f := pflag.NewFlagSet("pierd", pflag.ContinueOnError)
	f.SortFlags = false
	f.Usage = func() {}
	in.flags = f
	heading := func(title string) { in.groups = append(in.groups, group{title: title}) }
	last := func(name string) {
		g := &in.groups[len(in.groups)-1]
		g.flags = append(g.flags, name)
	}
	text := func(p *string, name, short, usage string) { f.StringVarP(p, name, short, *p, usage); last(name) }
	flag := func(p *bool, name, short, usage string) { f.BoolVarP(p, name, short, *p, usage); last(name) }
	words := func(p *[]string, name, short, usage string) {
		f.StringArrayVarP(p, name, short, nil, usage)
		last(name)
	}

	heading("Where things are")
	text(&c.DataRoot, "data-root", "", "`folder` of images, volumes and records")
	text(&c.ExecRoot, "exec-root", "", "`folder` of sockets and what a reboot ends")
	text(&c.Pidfile, "pidfile", "p", "`file` for the process ID (default pierd.pid in the exec root)")
	text(&in.file, "config-file", "", "JSON `file` with the same names as these flags")
	text(&c.Runtime, "runtime", "", "`path` of pier-runtime (default beside pierd, then PATH)")

	heading("Who may call")
	words(&c.Hosts, "host", "H", "`address` to listen on, unix:///path or tcp://ip:port; repeatable (default pier.sock in the exec root)")
	text(&c.Group, "group", "G", "`group` that may use unix sockets (default pier or docker, if there)")
	flag(&in.tls, "tls", "", "false allows tcp:// without any check of who calls")
	flag(&c.TLSVerify, "tlsverify", "", "only clients with a certificate of --tlscacert, over TLS")
	text(&c.TLSCACert, "tlscacert", "", "PEM `file` of the clients' authority")
	text(&c.TLSCert, "tlscert", "", "PEM `file` of pierd's certificate")
	text(&c.TLSKey, "tlskey", "", "PEM `file` of its key")

	heading("Containers")
	text(&c.CgroupParent, "cgroup-parent", "", "`path` of the cgroup that holds all containers")
	text(&c.Bridge, "bridge", "b", "`name` of the bridge of the network \"bridge\", or none for no such network")
	text(&c.BIP, "bip", "", "its `address`, such as 172.30.0.1/16 (default a free range)")
	f.IntVar(&c.MTU, "mtu", c.MTU, "`bytes` in a packet of container networks (default the kernel's)")
	last("mtu")
	words(&in.dns, "dns", "", "`address` of a name server instead of the host's; repeatable")
	words(&in.runtimes, "add-runtime", "", "`name=path` of another OCI runtime for --runtime; repeatable (in the file runtimes, an object)")
	text(&c.NewRuntime, "default-runtime", "", "`name` of the runtime of containers that choose none (default our own)")
	flag(&c.Init, "init", "", "run an init in containers that say nothing about it")
	words(&c.CDIDirs, "cdi-spec-dir", "", "`folder` of device descriptions (CDI); repeatable (default /etc/cdi and /var/run/cdi)")
	words(&c.Insecure, "insecure-registry", "", "`host` of a registry spoken to without TLS; repeatable")
	text(&c.LogDriver, "log-driver", "", "`name` of the log driver of containers that choose none")
	words(&c.LogOpts, "log-opt", "", "`name=value` of its options; repeatable (in the file log-opts, an object)")
	words(&c.Labels, "label", "", "`key=value` of this daemon, shown by info; repeatable")

	heading("Messages")
	text(&c.LogLevel, "log-level", "l", "least important `level` told: debug, info, warn, error")
	flag(&c.Debug, "debug", "D", "the same as --log-level debug")

	heading("Do something else")
	flag(&in.validate, "validate", "", "check the configuration and end")
	flag(&in.removeData, "data", "", "with cleanup: also remove the data root, images and volumes included")
	flag(&in.version, "version", "v", "print the version and end")
	flag(&in.help, "help", "h", "print this and end")
}

// readFile applies the configuration file. A missing default file is no error. A key that is also given as a flag is
// refused, since nobody could tell which one counts.
func (in *invocation) readFile() error {
	data, err := readLimited(in.file)
	if errors.Is(err, os.ErrNotExist) && !in.flags.Changed("config-file") {
		return nil
	}
	if err != nil {
		return errkind.New(errkind.Invalid, "unable to configure pierd with file %s: %w", in.file, err)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return errkind.New(errkind.Invalid, "unable to configure pierd with file %s: %w", in.file, err)
	}
	var unknown, conflicts []string
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		name := key
		if list, ok := fileKeys[key]; ok {
			name = list
		} else if slices.Contains(slices.Collect(maps.Values(fileKeys)), key) {
			name = ""
		}
		f := in.flags.Lookup(name)
		switch {
		case f == nil || slices.Contains(notInFile, name):
			unknown = append(unknown, key)
		case f.Changed:
			conflicts = append(conflicts, fmt.Sprintf("%s: (from flag: %s, from file: %s)", key, f.Value, keys[key]))
		default:
			if err := in.set(f, keys[key]); err != nil {
				return errkind.New(errkind.Invalid, "unable to configure pierd with file %s: %s: %w", in.file, key, err)
			}
		}
	}
	switch {
	case len(unknown) > 0:
		err = fmt.Errorf("the following directives don't match any configuration option: %s", strings.Join(unknown, ", "))
	case len(conflicts) > 0:
		err = fmt.Errorf("the following directives are specified both as a flag and in the configuration file: %s", strings.Join(conflicts, ", "))
	default:
		return nil
	}
	return errkind.New(errkind.Invalid, "unable to configure pierd with file %s: %w", in.file, err)
}

func (in *invocation) addRuntime(name, path string, args []string) {
	if in.config.Runtimes == nil {
		in.config.Runtimes = daemon.Runtimes{}
	}
	in.config.Runtimes[name] = shim.Runtime{Name: name, Path: path, Args: args}
}

// setRuntimes reads the key runtimes, which is as dockerd has it.
func (in *invocation) setRuntimes(value json.RawMessage) error {
	var list map[string]struct {
		Path        string
		RuntimeArgs []string
	}
	if err := json.Unmarshal(value, &list); err != nil {
		return errors.New(`want an object such as {"NAME": {"path": "/usr/sbin/NAME"}}`)
	}
	for name, r := range list {
		in.addRuntime(name, r.Path, r.RuntimeArgs)
	}
	return nil
}

// set gives a flag the value of a key: a list for those that repeat, else a string, a boolean or a number.
func (in *invocation) set(f *pflag.Flag, value json.RawMessage) error {
	if f.Name == "add-runtime" {
		return in.setRuntimes(value)
	}
	if many, ok := f.Value.(pflag.SliceValue); ok {
		var values []string
		var object map[string]string
		if f.Name == "log-opt" && json.Unmarshal(value, &object) == nil {
			for _, name := range slices.Sorted(maps.Keys(object)) {
				values = append(values, name+"="+object[name])
			}
		} else if err := json.Unmarshal(value, &values); err != nil {
			return errors.New("want a list of strings")
		}
		return many.Replace(values)
	}
	var one any
	if err := json.Unmarshal(value, &one); err != nil {
		return err
	}
	if _, isText := one.(string); isText != (f.Value.Type() == "string") {
		return fmt.Errorf("want a %s", f.Value.Type())
	}
	return in.flags.Set(f.Name, strings.TrimSuffix(fmt.Sprint(one), ".0"))
}

func readLimited(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("want a regular file of at most %d bytes", maxFile)
	}
	return os.ReadFile(path)
}

// usage is the text of --help.
func (in *invocation) usage() string {
	var s strings.Builder
	s.WriteString(`pierd runs containers and serves the Docker Engine API.

Usage:
  pierd [flags]            serve; SIGTERM ends pierd and leaves containers running, SIGINT (ctrl-c) stops them first
  pierd stop [flags]       stop all containers, the supervisor and pierd
  pierd upgrade [flags]    have the running pierd and its supervisor replaced by the programs now at their paths
  pierd cleanup [flags]    the same, then remove bridge, rules, cgroups and the exec root

stop, upgrade and cleanup want the same roots and names as the pierd they are about.
`)
	for _, g := range in.groups {
		fmt.Fprintf(&s, "\n%s:\n", g.title)
		for _, name := range g.flags {
			f := in.flags.Lookup(name)
			value, usage := pflag.UnquoteUsage(f)
			left := "      --" + f.Name
			if f.Shorthand != "" {
				left = "  -" + f.Shorthand + ", --" + f.Name
			}
			if f.Value.Type() != "bool" {
				left += " " + value
			}
			if f.DefValue != "" && f.DefValue != "[]" && f.DefValue != "false" && f.DefValue != "0" {
				usage += " (default " + f.DefValue + ")"
			}
			fmt.Fprintf(&s, "%-34s %s\n", left, usage)
		}
	}
	return s.String()
}
