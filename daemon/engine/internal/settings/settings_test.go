package settings

import (
	"errors"
	"slices"
	"strings"
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/lib/errkind"
	"pier/lib/id"
)

func TestMergeCommand(t *testing.T) {
	img := dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"a", "b"},
		Env: []string{"PATH=/bin", "A=1", "B=2"}, WorkingDir: "/srv", User: "app"}}
	for _, tt := range []struct {
		entry, cmd []string
		want       string
	}{
		{nil, nil, "/entry a b"},
		{nil, []string{"c"}, "/entry c"},
		{[]string{"/own"}, nil, "/own"},
		{[]string{"/own"}, []string{"x"}, "/own x"},
		{[]string{""}, []string{"sh"}, "sh"},
		{[]string{}, []string{"sh"}, "sh"},
	} {
		c := &container.Config{Entrypoint: tt.entry, Cmd: tt.cmd, Env: []string{"B=3", "C"}}
		Merge(c, img)
		if got := strings.Join(Command(c), " "); got != tt.want {
			t.Errorf("entrypoint %q, command %q: %q, want %q", tt.entry, tt.cmd, got, tt.want)
		}
		if got := strings.Join(c.Env, " "); got != "PATH=/bin A=1 B=3 C" || c.WorkingDir != "/srv" || c.User != "app" {
			t.Errorf("environment %q, directory %q, user %q", got, c.WorkingDir, c.User)
		}
	}
	if strings.Join(img.Cmd, " ") != "a b" {
		t.Error("the image's own command changed")
	}
}

// TestRefusals pins Docker's words: its clients and their users look for them.
func TestRefusals(t *testing.T) {
	type both struct {
		c *container.Config
		h *container.HostConfig
	}
	i64 := func(n int64) *int64 { return &n }
	tests := []struct {
		change func(b both)
		want   string
	}{
		{func(b both) { b.c.Cmd = nil }, "no command specified"},
		{func(b both) { b.c.Hostname = "-x" }, "invalid hostname format: -x"},
		{func(b both) { b.c.WorkingDir = "srv" }, "the working directory 'srv' is invalid, it needs to be an absolute path"},
		{func(b both) { b.c.Env = []string{"=x"} }, "invalid environment variable: =x"},
		{func(b both) { b.c.Env = []string{"A=x\x00"} }, "zero byte"},
		{func(b both) { b.c.StopSignal = "SIGFOO" }, "invalid signal: SIGFOO"},
		{func(b both) { b.c.StopSignal = "65" }, "invalid signal: 65"},
		{func(b both) { b.c.Healthcheck = &container.HealthConfig{Interval: 3} }, "Interval in Healthcheck cannot be less than 1ms"},
		{func(b both) { b.c.Healthcheck = &container.HealthConfig{Retries: -1} }, "Retries in Healthcheck cannot be negative"},
		{func(b both) { b.h.Memory = 1 << 20 }, "Minimum memory limit allowed is 6MB"},
		{func(b both) { b.h.Memory = -5 }, "Minimum memory limit allowed is 6MB"},
		{func(b both) { b.h.MemorySwap = 1 << 30 }, "You should always set the Memory limit when using Memoryswap limit"},
		{func(b both) { b.h.Memory, b.h.MemorySwap = 1<<30, 1<<29 }, "Minimum memoryswap limit should be larger than memory limit"},
		{func(b both) { b.h.Memory, b.h.MemoryReservation = 8<<20, 9<<20 }, "Minimum memory limit can not be less than memory reservation limit"},
		{func(b both) { b.h.MemorySwappiness = i64(101) }, "valid memory swappiness range is 0-100"},
		{func(b both) { b.h.NanoCPUs = 65e9 }, "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"},
		{func(b both) { b.h.NanoCPUs, b.h.CPUQuota = 1e9, 5000 }, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"},
		{func(b both) { b.h.CPUPeriod = 10 }, "CPU cfs period can not be less than 1ms"},
		{func(b both) { b.h.CPUQuota = 10 }, "CPU cfs quota can not be less than 1ms"},
		{func(b both) { b.h.CpusetCpus = "0-99999999999999999999" }, "Invalid value 0-99999999999999999999 for cpuset cpus"},
		{func(b both) { b.h.CpusetCpus = "7" }, "Requested CPUs are not available - requested 7, available: 0-1"},
		{func(b both) { b.h.PidsLimit = i64(-2) }, "Invalid value: -2"},
		{func(b both) { b.h.OomScoreAdj = 2000 }, "range for oom score adj is [-1000, 1000]"},
		{func(b both) { b.h.ShmSize = -1 }, "SHM size can not be less than 0"},
		{func(b both) { b.h.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: 9, Hard: 3}} }, "ulimit soft limit must be less than or equal to hard limit: 9 > 3"},
		{func(b both) { b.h.Ulimits = []*container.Ulimit{{Name: "nofiles"}} }, "invalid ulimit name nofiles"},
		{func(b both) { b.h.IpcMode = "foo" }, "invalid IPC mode: foo"},
		{func(b both) { b.h.PidMode = "container:" }, "invalid PID mode: container:"},
		{func(b both) { b.h.UTSMode = "x" }, "invalid UTS mode: x"},
		{func(b both) { b.h.UTSMode, b.c.Hostname = "host", "h" }, "conflicting options: hostname and the UTS mode"},
		{func(b both) { b.h.UTSMode, b.c.Domainname = "host", "d" }, "conflicting options: domainname and the UTS mode"},
		{func(b both) { b.h.NetworkMode, b.c.Hostname = "container:x", "h" }, "conflicting options: hostname and the network mode"},
		{func(b both) { b.h.AutoRemove, b.h.RestartPolicy.Name = true, "always" }, "can't create 'AutoRemove' container with restart policy"},
		{func(b both) { b.h.RestartPolicy.Name = "sometimes" }, "invalid restart policy: unknown policy 'sometimes'"},
		{func(b both) { b.h.RestartPolicy = container.RestartPolicy{Name: "always", MaximumRetryCount: 3} }, "maximum retry count can only be used with 'on-failure'"},
		{func(b both) { b.h.LogConfig.Type = "nosuch" }, "no log driver named 'nosuch' is registered"},
		{func(b both) { b.h.LogConfig.Type = "splunk" }, `log driver "splunk" is not supported`},
		{func(b both) { b.h.LogConfig = container.LogConfig{Config: map[string]string{"maxsize": "1"}} }, "unknown log opt 'maxsize' for json-file log driver"},
		{func(b both) { b.h.LogConfig = container.LogConfig{Config: map[string]string{"max-file": "0"}} }, "max-file cannot be less than 1"},
		{func(b both) { b.h.SecurityOpt = []string{"foo"} }, `invalid --security-opt 1: "foo"`},
		{func(b both) { b.h.SecurityOpt = []string{"foo=bar"} }, `invalid --security-opt 2: "foo=bar"`},
		{func(b both) { b.h.Sysctls = map[string]string{"kernel.core_pattern": "|/x"} }, `sysctl "kernel.core_pattern" is not in a separate kernel namespace`},
		{func(b both) { b.h.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1\n+kernel.core_pattern=x"} }, "invalid sysctl"},
		{func(b both) { b.h.Sysctls, b.h.NetworkMode = map[string]string{"net.core.somaxconn": "1"}, "host" }, "not allowed in host network namespace"},
		{func(b both) { b.h.Runtime = "kata" }, "unknown or invalid runtime name: kata"},
		{func(b both) { b.h.ExtraHosts = []string{"nohost"} }, "bad format for add-host"},
		{func(b both) { b.h.Tmpfs = map[string]string{"rel": ""} }, "mount path must be absolute"},
		{func(b both) { b.h.Annotations = map[string]string{"": "x"} }, "invalid Annotations"},
		{func(b both) { b.c.User = "2147483648" }, "uids and gids must be in range 0-2147483647"},
		{func(b both) { b.c.User = "99999999999999999999" }, "uids and gids must be in range"},
		{func(b both) { b.c.User = "1:2:3" }, "want user[:group]"},
		{func(b both) { b.h.GroupAdd = []string{"-1"} }, "uids and gids must be in range"},
		{func(b both) { b.h.CgroupParent = "/a/../b" }, "want a path without '..'"},
		{func(b both) { b.h.CgroupParent = "/a/" + strings.Repeat("b", 256) }, "a name in it may have 255"},
		{func(b both) { b.h.CgroupParent = strings.Repeat("/b", 1501) }, "the whole 3000"},
		{func(b both) { b.h.MaskedPaths = []string{"rel"} }, "want an absolute path"},
		{func(b both) { b.h.CPUCount = 1 }, "linux does not support CpuCount"},
		{func(b both) { b.h.DeviceCgroupRules = []string{"c 1:3 x"} }, "invalid device cgroup rule format"},
		{func(b both) { b.h.SecurityOpt = []string{"seccomp=profile.json"} }, "Decoding seccomp profile failed"},
		{func(b both) { b.h.SecurityOpt = []string{"label=colour:red"} }, "bad label option"},
	}
	for _, tt := range tests {
		b := both{&container.Config{Cmd: []string{"true"}}, &container.HostConfig{}}
		tt.change(b)
		_, err := Complete(b.c, b.h, id.New(), Host{CPUs: 2})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %q", err, tt.want)
			continue
		}
		if k := errkind.Of(err); k != errkind.Invalid && k != errkind.Unsupported {
			t.Errorf("%q is of kind %v", err, k)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"web": true, "a": false, "web_1.x-y": true, "-x": false, "a/b": false, "ü": false, "": false, "..": false} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
	for range 100 {
		if n := MakeName(id.New(), 1); CheckName(n) != nil {
			t.Fatalf("made-up name %q is not valid", n)
		}
	}
}

func TestSignals(t *testing.T) {
	for s, want := range map[string]int{"9": 9, "KILL": 9, "SIGKILL": 9, "sigterm": 15, "RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX-1": 63, "WINCH": 28, "64": 64} {
		if got, err := ParseSignal(s); err != nil || got != want {
			t.Errorf("ParseSignal(%q) = %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "-1", "65", "SIG", "RTMIN+31", "RTMAX+1", "RTMINx", "FOO"} {
		if n, err := ParseSignal(s); err == nil {
			t.Errorf("ParseSignal(%q) = %d", s, n)
		}
	}
}

func TestParseBind(t *testing.T) {
	for raw, want := range map[string]Mount{
		"/h:/c":            {Type: mount.TypeBind, Source: "/h", Destination: "/c", RW: true, MakeSource: true, Propagation: mount.PropagationRPrivate},
		"/h/../x:/c/:ro":   {Type: mount.TypeBind, Source: "/x", Destination: "/c", Mode: "ro", MakeSource: true, Propagation: mount.PropagationRPrivate},
		"/h:/c:rshared,ro": {Type: mount.TypeBind, Source: "/h", Destination: "/c", Mode: "rshared,ro", MakeSource: true, Propagation: mount.PropagationRShared},
		"vol:/c":           {Type: mount.TypeVolume, Name: "vol", Destination: "/c", RW: true, Driver: "local", Mode: "z"},
		"vol:/c:nocopy,ro": {Type: mount.TypeVolume, Name: "vol", Destination: "/c", Driver: "local", Mode: "nocopy,ro", NoCopy: true},
		"/anonymous":       {Type: mount.TypeVolume, Destination: "/anonymous", RW: true, Driver: "local", Anonymous: true},
	} {
		got, err := ParseBind(raw)
		if err != nil {
			t.Errorf("ParseBind(%q): %v", raw, err)
			continue
		}
		if got.Type != want.Type || got.Source != want.Source || got.Name != want.Name || got.Destination != want.Destination || got.RW != want.RW ||
			got.Mode != want.Mode || got.Propagation != want.Propagation || got.Anonymous != want.Anonymous || got.NoCopy != want.NoCopy || got.MakeSource != want.MakeSource {
			t.Errorf("ParseBind(%q) = %+v, want %+v", raw, got, want)
		}
	}
	for raw, want := range map[string]string{
		"":            "invalid volume specification: ''",
		":/c":         "invalid volume specification: ':/c'",
		"/a:/b:/c:d":  "invalid volume specification",
		"/a:ro":       "invalid volume specification: '/a:ro'",
		"/a:/b:xx":    "invalid mode: xx",
		"/a:/b:ro,rw": "invalid mode: ro,rw",
		"/a:/":        "destination can't be '/'",
		"/a:b":        `"bind": invalid mount path: 'b' mount path must be absolute`,
		"a:b":         `"volume": invalid mount path: 'b' mount path must be absolute`,
	} {
		if _, err := ParseBind(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseBind(%q): %v, want %q", raw, err, want)
		}
	}
}

func TestMounts(t *testing.T) {
	src := MountSources{
		Exists: func(p string) bool { return p == "/there" },
		From: func(ref string) ([]Mount, error) {
			if ref != "data" {
				return nil, errors.New("No such container: " + ref)
			}
			return []Mount{{Type: mount.TypeVolume, Name: "v", Destination: "/data", RW: true, Anonymous: true}}, nil
		},
	}
	h := &container.HostConfig{
		VolumesFrom: []string{"data:ro"}, Binds: []string{"/host:/srv/deep"}, Tmpfs: map[string]string{"/run": "size=1m,ro"},
		Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Target: "/srv", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 4096, Mode: 0o1777}}},
	}
	got, err := Mounts(h, map[string]struct{}{"/srv": {}, "/cache/": {}}, src)
	if err != nil {
		t.Fatal(err)
	}
	var places []string
	for _, m := range got {
		places = append(places, m.Destination)
	}
	if want := []string{"/cache", "/data", "/run", "/srv", "/srv/deep"}; !slices.Equal(places, want) {
		t.Fatalf("order %v, want %v", places, want)
	}
	if got[1].RW || got[1].Anonymous || !got[0].Anonymous || got[2].RW || !slices.Equal(got[3].Options, []string{"mode=1777", "size=4096"}) {
		t.Errorf("mounts %+v", got)
	}
	for want, bad := range map[string]*container.HostConfig{
		"Duplicate mount point: /x":           {Binds: []string{"/a:/x", "/b:/x"}},
		"Duplicate mount point: /y":           {Binds: []string{"/a:/y"}, Tmpfs: map[string]string{"/y": ""}},
		"bind source path does not exist: /n": {Mounts: []mount.Mount{{Type: mount.TypeBind, Source: "/n", Target: "/x"}}},
		"field Source must not be empty":      {Mounts: []mount.Mount{{Type: mount.TypeBind, Target: "/x"}}},
		"field Target must not be empty":      {Mounts: []mount.Mount{{Type: mount.TypeVolume}}},
		"mount type unknown":                  {Mounts: []mount.Mount{{Type: "weird", Target: "/x"}}},
		"subpath must be a relative path":     {Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "v", Target: "/x", VolumeOptions: &mount.VolumeOptions{Subpath: "../y"}}}},
		"field VolumeOptions must not":        {Mounts: []mount.Mount{{Type: mount.TypeBind, Source: "/there", Target: "/x", VolumeOptions: &mount.VolumeOptions{}}}},
		"invalid propagation mode: up":        {Mounts: []mount.Mount{{Type: mount.TypeBind, Source: "/there", Target: "/x", BindOptions: &mount.BindOptions{Propagation: "up"}}}},
		`invalid tmpfs option "uid"`:          {Tmpfs: map[string]string{"/x": "uid"}},
		"No such container: gone":             {VolumesFrom: []string{"gone"}},
		"invalid mode: rshared":               {VolumesFrom: []string{"data:rshared"}},
	} {
		if _, err := Mounts(bad, nil, src); err == nil || !strings.Contains(err.Error(), want) || errkind.Of(err) != errkind.Invalid {
			t.Errorf("%+v: %v, want %q", bad, err, want)
		}
	}
}

// TestProfileWithoutAppArmor shows that a profile which cannot be applied is not passed over in silence.
func TestProfileWithoutAppArmor(t *testing.T) {
	for _, c := range []struct {
		option string
		on     bool
		warned bool
	}{{"apparmor=mine", false, true}, {"apparmor:mine", false, true}, {"apparmor=mine", true, false}, {"apparmor=unconfined", false, false}} {
		h := &container.HostConfig{SecurityOpt: []string{c.option}}
		warnings, err := Complete(&container.Config{Cmd: []string{"true"}}, h, systemID, Host{CPUs: 1, AppArmor: c.on})
		if err != nil || slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, "the profile mine has no effect") }) != c.warned {
			t.Errorf("%s, AppArmor on %v: %q, %v", c.option, c.on, warnings, err)
		}
	}
}
