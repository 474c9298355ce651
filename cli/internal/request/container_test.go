package request

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"
)

// parse reads a command line as `run` does.
func parse(t *testing.T, line ...string) (container.CreateRequest, error) {
	t.Helper()
	var f Container
	set := pflag.NewFlagSet("run", pflag.ContinueOnError)
	f.Register(set)
	if err := set.Parse(append(line, "image", "command", "-x")); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"INHERITED": "yes", "HOME": "/home/me"}
	return f.Request(set.Args(), func(name string) string { return env[name] })
}

// at returns what stands at a path of dots in v's JSON, as JSON.
func at(t *testing.T, v any, path string) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	for _, key := range strings.Split(path, ".") {
		m, ok := value.(map[string]any)
		if !ok {
			return "nothing"
		}
		if value, ok = m[key]; !ok {
			return "nothing"
		}
	}
	data, _ = json.Marshal(value)
	return string(data)
}

func TestRequest(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "env")
	if err := os.WriteFile(file, []byte("\ufeff# comment\n\n A=from file\r\nB=\nINHERITED\nMISSING\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(dir, "seccomp.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ line, path, want string }{
		{"", "Image", `"image"`},
		{"", "Cmd", `["command","-x"]`},
		{"", "AttachStdout", `true`},
		{"", "HostConfig.NetworkMode", `"default"`},
		{"", "NetworkingConfig.EndpointsConfig", `null`},
		{"-it", "StdinOnce", `true`},
		{"-a stdout", "AttachStderr", `false`},
		{"-e A=1 -e INHERITED -e MISSING", "Env", `["A=1","INHERITED=yes"]`},
		{"--env-file " + file + " -e A=last", "Env", `["A=from file","B=","INHERITED=yes","A=last"]`},
		{"-l a=b -l c", "Labels", `{"a":"b","c":""}`},
		{"--entrypoint x", "Entrypoint", `["x"]`},
		{"--entrypoint=", "Entrypoint", `[""]`},
		{"--stop-timeout 3", "StopTimeout", `3`},

		{"-p 80", "HostConfig.PortBindings", `{"80/tcp":[{"HostIp":"","HostPort":""}]}`},
		{"-p 80", "ExposedPorts", `{"80/tcp":{}}`},
		{"-p 8080:80/UDP", "HostConfig.PortBindings", `{"80/udp":[{"HostIp":"","HostPort":"8080"}]}`},
		{"-p 127.0.0.1::80", "HostConfig.PortBindings", `{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":""}]}`},
		{"-p [::1]:8080:80", "HostConfig.PortBindings", `{"80/tcp":[{"HostIp":"::1","HostPort":"8080"}]}`},
		{"-p 8000-8001:80-81", "HostConfig.PortBindings", `{"80/tcp":[{"HostIp":"","HostPort":"8000"}],"81/tcp":[{"HostIp":"","HostPort":"8001"}]}`},
		{"-p 8000-8005:80", "HostConfig.PortBindings", `{"80/tcp":[{"HostIp":"","HostPort":"8000-8005"}]}`},
		{"--expose 7-8/sctp", "ExposedPorts", `{"7/sctp":{},"8/sctp":{}}`},

		{"--network none", "HostConfig.NetworkMode", `"none"`},
		{"--network container:x", "HostConfig.NetworkMode", `"container:x"`},
		{"--network name=back,alias=db,ip=10.0.0.9", "NetworkingConfig.EndpointsConfig.back.Aliases", `["db"]`},
		{"--network name=back,alias=db,ip=10.0.0.9", "NetworkingConfig.EndpointsConfig.back.IPAMConfig.IPv4Address", `"10.0.0.9"`},
		{"--network back --network-alias db --ip6 fd00::9", "NetworkingConfig.EndpointsConfig.back.IPAMConfig.IPv6Address", `"fd00::9"`},
		{"--network a --network b", "NetworkingConfig.EndpointsConfig.b.MacAddress", `""`},
		{"--dns 9.9.9.9 --dns-search x", "HostConfig.Dns", `["9.9.9.9"]`},
		{"--add-host db:10.0.0.1", "HostConfig.ExtraHosts", `["db:10.0.0.1"]`},

		{"-v /a:/b:ro", "HostConfig.Binds", `["/a:/b:ro"]`},
		{"-v /a:/b -v /c:/d -v /a:/b", "HostConfig.Binds", `["/a:/b","/c:/d"]`},
		{"--ulimit core=1 --ulimit cpu=2 --ulimit core=3:4", "HostConfig.Ulimits", `[{"Name":"cpu","Hard":2,"Soft":2},{"Name":"core","Hard":4,"Soft":3}]`},
		{"-v ~/a:/b", "HostConfig.Binds", `["/home/me/a:/b"]`},
		{"-v /anonymous", "Volumes", `{"/anonymous":{}}`},
		{"--tmpfs /t:size=1m", "HostConfig.Tmpfs", `{"/t":"size=1m"}`},
		{"--mount type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave", "HostConfig.Mounts", `[{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true,"BindOptions":{"Propagation":"rslave"}}]`},
		{"--mount source=v,target=/b,volume-nocopy,volume-label=a=b", "HostConfig.Mounts", `[{"Type":"volume","Source":"v","Target":"/b","VolumeOptions":{"NoCopy":true,"Labels":{"a":"b"}}}]`},
		{"--mount type=tmpfs,target=/b,tmpfs-size=1k,tmpfs-mode=1770", "HostConfig.Mounts", `[{"Type":"tmpfs","Target":"/b","TmpfsOptions":{"SizeBytes":1024,"Mode":1016}}]`},

		{"-m 64m --memory-swap -1 --shm-size 1g", "HostConfig.Memory", `67108864`},
		{"-m 64m --memory-swap -1", "HostConfig.MemorySwap", `-1`},
		{"--cpus 1.5", "HostConfig.NanoCpus", `1500000000`},
		{"--pids-limit 0", "HostConfig.PidsLimit", `0`},
		{"", "HostConfig.PidsLimit", `null`},
		{"--ulimit nofile=1:2", "HostConfig.Ulimits", `[{"Name":"nofile","Hard":2,"Soft":1}]`},
		{"--device /dev/null", "HostConfig.Devices", `[{"PathOnHost":"/dev/null","PathInContainer":"/dev/null","CgroupPermissions":"rwm"}]`},
		{"--device /dev/null:/dev/x:r", "HostConfig.Devices", `[{"PathOnHost":"/dev/null","PathInContainer":"/dev/x","CgroupPermissions":"r"}]`},
		{"--device /dev/null:rw", "HostConfig.Devices", `[{"PathOnHost":"/dev/null","PathInContainer":"/dev/null","CgroupPermissions":"rw"}]`},

		{"--restart on-failure:3", "HostConfig.RestartPolicy", `{"Name":"on-failure","MaximumRetryCount":3}`},
		{"--security-opt seccomp=" + profile, "HostConfig.SecurityOpt", `["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]`},
		{"--security-opt systempaths=unconfined", "HostConfig.MaskedPaths", `[]`},
		{"--health-cmd x --health-interval 2s", "Healthcheck", `{"Test":["CMD-SHELL","x"],"Interval":2000000000}`},
		{"--health-http :8080/healthz --health-retries 2", "Healthcheck", `{"Test":["HTTP",":8080/healthz"],"Retries":2}`},
		{"--health-tcp :5432", "Healthcheck", `{"Test":["TCP",":5432"]}`},
		{"--health-grpc :50051", "Healthcheck", `{"Test":["GRPC",":50051"]}`},
		{"--health-grpc :50051/a.B", "Healthcheck", `{"Test":["GRPC",":50051","a.B"]}`},
		{"--health-file /run/ready", "Healthcheck", `{"Test":["FILE","/run/ready"]}`},
		{"--no-healthcheck", "Healthcheck", `{"Test":["NONE"]}`},
		{"--init=false", "HostConfig.Init", `false`},
		{"--log-driver json-file --log-opt max-size=1m", "HostConfig.LogConfig", `{"Type":"json-file","Config":{"max-size":"1m"}}`},
	}
	for _, test := range tests {
		r, err := parse(t, strings.Fields(test.line)...)
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		if got := at(t, r, test.path); got != at(t, map[string]json.RawMessage{"x": json.RawMessage(test.want)}, "x") {
			t.Errorf("%s: %s is %s, want %s", test.line, test.path, got, test.want)
		}
	}
}

func TestRequestRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"-p x":                                     "invalid port",
		"-p 99999:80":                              "invalid port",
		"-p 80-79":                                 "invalid port range",
		"-p 1-2:80-82":                             "differ in length",
		"-p 300.0.0.1:1:2":                         "invalid IP address",
		"-p 80/quic":                               "invalid proto",
		"--network a --network a":                  "specified multiple times",
		"--network alias=x":                        "names no network",
		"--network name=a,colour=x":                "invalid field key",
		"--network host --ip 10.0.0.1":             "conflicting options",
		"--network container:x -p 80":              "conflicting options",
		"--dns x":                                  "not an ip address",
		"--add-host x":                             "bad format for add-host",
		"-v relative":                              "must be absolute",
		"-v a:b:c:d":                               "invalid volume specification",
		"--mount type=bind,source=/a":              "target is required",
		"--mount target=/a,tmpfs-size=1":           "cannot mix",
		"--mount target=/a,colour=x":               "unexpected key",
		"--mount target=/a,readonly=perhaps":       "invalid value for readonly",
		"-m much":                                  "--memory",
		"--cpus many":                              "failed to parse",
		"--cpus 0.00000000001":                     "too precise",
		"--memory-swappiness 101":                  "0-100",
		"--device dev":                             "must be absolute",
		"--device /a:/b:/c:/d":                     "invalid device specification",
		"--restart on-failure:x":                   "must be an integer",
		"--restart always --rm":                    "conflicting options",
		"--security-opt seccomp=/nosuch":           "opening seccomp profile",
		"--security-opt what":                      "invalid --security-opt",
		"--no-healthcheck --health-cmd x":          "conflicts",
		"--no-healthcheck --health-tcp :1":         "conflicts",
		"--health-cmd x --health-file /x":          "only one of",
		"--health-http :1 --health-tcp :1":         "only one of",
		"--health-retries -1":                      "cannot be negative",
		"-a file":                                  "valid streams",
		"-e =x":                                    "invalid environment variable",
		"-l =x":                                    "invalid label",
		"--annotation =x":                          "invalid annotation",
		"--log-driver none --log-opt a=b":          "invalid logging opts",
		"--env-file /nosuch":                       "no such file",
		"--mac-address zz":                         "not a valid mac address",
		"--network name=x,ip=fd00::1":              "not an address of that kind",
		"--ulimit nofile=x":                        "--ulimit",
		"--mount type=bind,bind-recursive=perhaps": "bind-recursive",
	} {
		if _, err := parse(t, strings.Fields(line)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", line, err, want)
		}
	}
}

func TestBuildQuery(t *testing.T) {
	var f Build
	set := pflag.NewFlagSet("build", pflag.ContinueOnError)
	f.Register(set)
	line := "-t a -t b:1 --build-arg A=1 --build-arg FROM_ENV --build-arg UNSET --label x=y --no-cache -m 64m --target t --add-host h:10.0.0.1 --ulimit nofile=1"
	if err := set.Parse(strings.Fields(line)); err != nil {
		t.Fatal(err)
	}
	q, err := f.Query(func(name string) string { return map[string]string{"FROM_ENV": "e"}[name] })
	if err != nil {
		t.Fatal(err)
	}
	want := `buildargs={"A":"1","FROM_ENV":"e","UNSET":null}&extrahosts=h:10.0.0.1&labels={"x":"y"}&memory=67108864&networkmode=default&nocache=1&rm=1&t=a&t=b:1&target=t&ulimits=[{"Name":"nofile","Hard":1,"Soft":1}]`
	var got []string
	for _, key := range []string{"buildargs", "extrahosts", "labels", "memory", "networkmode", "nocache", "rm", "t", "target", "ulimits"} {
		for _, v := range q[key] {
			got = append(got, key+"="+v)
		}
		delete(q, key)
	}
	if strings.Join(got, "&") != want || len(q) != 0 {
		t.Errorf("got  %s\nwant %s\nand besides %v", strings.Join(got, "&"), want, q)
	}
}
