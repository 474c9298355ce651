package logging

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pier/lib/errkind"
)

func options1(text string) map[string]string {
	opts := map[string]string{}
	for o := range strings.FieldsSeq(text) {
		k, v, _ := strings.Cut(o, "=")
		opts[k] = v
	}
	return opts
}

func TestParse(t *testing.T) {
	file := func(size int64, files int, compress bool) Config {
		return Config{Readable: true, MaxSize: size, MaxFiles: files, Compress: compress}
	}
	remote := func(size int64, files int, compress bool) Config {
		c := file(size, files, compress)
		c.Remote = true
		return c
	}
	for _, tt := range []struct {
		driver, opts string
		want         Config
	}{
		{JSONFile, "", file(defaultSize, defaultFiles, true)},
		{JSONFile, "max-size=10m", file(10e6, 1, false)},
		{JSONFile, "max-size=10m max-file=3", file(10e6, 3, true)},
		{JSONFile, "max-size=1k max-file=3 compress=false", file(1e3, 3, false)},
		{JSONFile, "max-file=3", file(defaultSize, 3, true)},
		{JSONFile, "max-size=-1", file(0, 1, false)},
		{JSONFile, "labels=a,b env-regex=^X tag={{.Name}}/{{.ImageName}}", file(defaultSize, defaultFiles, true)},
		{JSONFile, "mode=blocking", file(defaultSize, defaultFiles, true)},
		{Local, "", file(defaultSize, defaultFiles, true)},
		{Local, "max-size=1m", file(1e6, defaultFiles, true)},
		{None, "max-size=1m odd=1", Config{}},
		{Syslog, "syslog-address=udp://127.0.0.1:5 tag=x", remote(defaultSize, defaultFiles, true)},
		{Fluentd, "cache-max-size=1m cache-max-file=2", remote(1e6, 2, true)},
		{Journald, "labels=a", remote(defaultSize, defaultFiles, true)},
		{GELF, "gelf-address=udp://h:1 cache-compress=false", remote(defaultSize, defaultFiles, false)},
	} {
		tt.want.Driver = tt.driver
		got, err := Parse(tt.driver, options1(tt.opts))
		got.options = nil
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s %s: %+v, %v", tt.driver, tt.opts, got, err)
		}
	}
	c, err := Parse(JSONFile, options1("mode=non-blocking max-buffer-size=4m"))
	if err != nil || c.Buffer != 4<<20 {
		t.Errorf("non-blocking: %+v, %v", c, err)
	}
	if c, err := Parse(Syslog, options1("cache-disabled=true")); err != nil || c.Readable || !c.Remote || c.MaxSize == 0 {
		t.Errorf("cache-disabled: %+v, %v", c, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		driver, opts, want string
		kind               errkind.Kind
	}{
		{"odd", "", "logger: no log driver named 'odd' is registered", errkind.Invalid},
		{"", "", "no log driver named ''", errkind.Invalid},
		{"awslogs", "", "not supported", errkind.Unsupported},
		{JSONFile, "maxsize=1", "unknown log opt 'maxsize' for json-file log driver", errkind.Invalid},
		{Local, "labels=a", "unknown log opt 'labels' for local log driver", errkind.Invalid},
		{Syslog, "max-size=1m", "unknown log opt 'max-size' for syslog log driver", errkind.Invalid},
		{Journald, "syslog-address=x", "unknown log opt 'syslog-address' for journald log driver", errkind.Invalid},
		{JSONFile, "max-size=0", "max-size must be a positive number", errkind.Invalid},
		{JSONFile, "max-size=much", "invalid value for max-size: much: invalid size: 'much'", errkind.Invalid},
		{Local, "max-size=-1", "invalid value for max-size: -1: invalid size: '-1'", errkind.Invalid},
		{Fluentd, "cache-max-size=-1", "invalid value for cache-max-size: -1: invalid size: '-1'", errkind.Invalid},
		{JSONFile, "max-file=0", "max-file cannot be less than 1", errkind.Invalid},
		{JSONFile, "max-file=1001", "cannot be more than", errkind.Invalid},
		{JSONFile, "compress=true max-size=1m", "compress cannot be true", errkind.Invalid},
		{JSONFile, "compress=maybe", "compress=maybe", errkind.Invalid},
		{JSONFile, "labels-regex=(", "labels-regex=(", errkind.Invalid},
		{JSONFile, "tag={{.Nonsense}}", "tag={{.Nonsense}}", errkind.Invalid},
		{JSONFile, "tag={{", "tag={{", errkind.Invalid},
		{JSONFile, "mode=fast", "logger: logging mode not supported: fast", errkind.Invalid},
		{JSONFile, "max-buffer-size=1m", "only supported with 'mode=non-blocking'", errkind.Invalid},
		{JSONFile, "mode=non-blocking max-buffer-size=x", "max-buffer-size", errkind.Invalid},
		{JSONFile, "mode=non-blocking max-buffer-size=2g", "at most", errkind.Invalid},
		{GELF, "", "gelf-address is a required parameter", errkind.Invalid},
		{GELF, "gelf-address=udp://h gelf-compression-level=11", "gelf-compression-level=11", errkind.Invalid},
		{Fluentd, "fluentd-max-retries=-1", "fluentd-max-retries=-1", errkind.Invalid},
		{Syslog, "cache-max-file=0", "cache-max-file cannot be less than 1", errkind.Invalid},
	} {
		_, err := Parse(tt.driver, options1(tt.opts))
		if err == nil || !strings.Contains(err.Error(), tt.want) || errkind.Of(err) != tt.kind {
			t.Errorf("%s %s: %v, want %q", tt.driver, tt.opts, err, tt.want)
		}
	}
}

func TestAttributes(t *testing.T) {
	s := Subject{ContainerID: "0123456789abcdef0", ContainerName: "/web", ContainerImage: "nginx:1", ContainerImageID: "sha256:fedcba9876543210", Created: time.Now(),
		Entrypoint: "nginx", Args: []string{"-g"}, ContainerEnv: []string{"A=1", "AB=2", "C", "D=x=y"}, ContainerLabels: map[string]string{"l": "1", "m": "2", "mm": "3"}}
	for opts, want := range map[string]map[string]string{
		"":                             nil,
		"labels=l,none env=D,C":        {"l": "1", "D": "x=y"},
		"labels-regex=^m env-regex=^A": {"m": "2", "mm": "3", "A": "1", "AB": "2"},
		"tag={{.ID}}|{{.Name}}|{{.ImageID}}|{{.ImageName}}|{{.Command}}|{{.DaemonName}}": {"tag": "0123456789ab|web|fedcba987654|nginx:1|nginx -g|docker"},
	} {
		c, err := Parse(JSONFile, options1(opts))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Attributes(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v", opts, got, err)
		}
	}
	if tag, err := (Config{}).Tag(s); err != nil || tag != "0123456789ab" {
		t.Errorf("without a tag: %q, %v", tag, err)
	}
}

func TestDefault(t *testing.T) {
	daemon := map[string]string{"max-size": "1m", "max-file": "2"}
	for _, tt := range []struct {
		driver     string
		opts       map[string]string
		own        string
		wantDriver string
		want       map[string]string
	}{
		{"", nil, "", JSONFile, nil},
		{"", nil, JSONFile, JSONFile, daemon},
		{JSONFile, map[string]string{"max-file": "5"}, JSONFile, JSONFile, map[string]string{"max-size": "1m", "max-file": "5"}},
		{None, nil, JSONFile, None, nil},
	} {
		opts := daemon
		if tt.own == "" {
			opts = nil
		}
		driver, got := Default(tt.driver, tt.opts, tt.own, opts)
		if driver != tt.wantDriver || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%+v: %s %v", tt, driver, got)
		}
	}
	if daemon["max-file"] != "2" {
		t.Error("the daemon's options were changed")
	}
}
