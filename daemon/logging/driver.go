package logging

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	units "github.com/docker/go-units"

	"pier/daemon/logging/internal/send"
	"pier/lib/errkind"
)

// The log drivers.
const (
	JSONFile = "json-file"
	Local    = "local"
	None     = "none"
	Syslog   = "syslog"
	Journald = "journald"
	Fluentd  = "fluentd"
	GELF     = "gelf"
)

// Drivers lists the drivers by name, in order.
func Drivers() []string {
	return []string{Fluentd, GELF, Journald, JSONFile, Local, None, Syslog}
}

// What a log takes on disk where nobody says otherwise: the live file and its predecessors, most of which are compressed.
const (
	defaultSize   = 20_000_000
	defaultFiles  = 5
	defaultBuffer = 1_000_000
)

// What the files of a remote driver take whose cache is disabled: they only hold what is on its way.
const (
	spoolSize  = 10_000_000
	spoolFiles = 2
)

// Config is how a container's output is logged.
type Config struct {
	Driver string
	// Readable is set where the log can be read back.
	Readable bool
	// Remote is set where a Shipper delivers the lines.
	Remote bool

	// How the file is kept, which every driver but none has. MaxSize is in bytes, 0 for no bound. Buffer is the size in
	// bytes of the ring in front of it, 0 where the container waits for its log.
	MaxSize  int64
	MaxFiles int
	Compress bool
	Buffer   int64

	options map[string]string
}

// options are those of one driver: the names, each with a check of its value.
type options map[string]func(value string) error

func anything(string) error { return nil }

func boolean(v string) error {
	_, err := strconv.ParseBool(v)
	return err
}

// attributes are the options that choose what is written with each line.
var attributes = options{"labels": anything, "labels-regex": regular, "env": anything, "env-regex": regular, "tag": template}

var (
	fileOptions  = options{"max-size": anything, "max-file": anything, "compress": boolean}
	cacheOptions = options{"cache-disabled": boolean, "cache-max-size": anything, "cache-max-file": anything, "cache-compress": boolean}
	modeOptions  = options{"mode": anything, "max-buffer-size": anything}
)

// known returns a driver's options; not ok: there is no such driver.
func known(driver string) (all options, remote, ok bool) {
	all = maps.Clone(modeOptions)
	add := func(sets ...options) {
		for _, s := range sets {
			maps.Copy(all, s)
		}
	}
	switch driver {
	case JSONFile:
		add(fileOptions, attributes)
		return all, false, true
	case Local:
		add(fileOptions)
		return all, false, true
	}
	own, ok := send.Options(driver)
	if !ok {
		return nil, false, false
	}
	add(attributes, cacheOptions)
	for name, check := range own {
		all[name] = check
	}
	return all, true, true
}

func refuse(format string, args ...any) error { return errkind.New(errkind.Invalid, format, args...) }

// Parse decodes a driver's name and its options. Errors are of kind Invalid and name the option, or Unsupported for
// drivers that Docker has and Pier has not.
func Parse(driver string, opts map[string]string) (Config, error) {
	c := Config{Driver: driver, options: opts}
	switch driver {
	case None:
		return c, nil
	case "awslogs", "splunk", "etwlogs", "gcplogs":
		return c, errkind.New(errkind.Unsupported, "log driver %q is not supported: use one of %v", driver, Drivers())
	}
	all, remote, ok := known(driver)
	if !ok {
		return c, refuse("logger: no log driver named '%s' is registered", driver)
	}
	for _, name := range slices.Sorted(maps.Keys(opts)) {
		check, ok := all[name]
		if !ok {
			return c, refuse("unknown log opt '%s' for %s log driver", name, driver)
		}
		if err := check(opts[name]); err != nil {
			return c, refuse("invalid log opt %s=%s: %w", name, opts[name], err)
		}
	}
	c.Remote, c.Readable = remote, true
	prefix := ""
	if remote {
		prefix = "cache-"
		if err := send.Check(driver, opts); err != nil {
			return c, refuse("%w", err)
		}
	}
	if err := c.parseFile(prefix); err != nil {
		return c, err
	}
	if off, _ := strconv.ParseBool(opts["cache-disabled"]); off {
		c.Readable = false
		c.MaxSize, c.MaxFiles, c.Compress = spoolSize, spoolFiles, false
	}
	return c, c.parseMode()
}

// parseFile reads the options of the file. Who gives a size alone means one file of that size, as with Docker; otherwise
// what is not said has our defaults.
func (c *Config) parseFile(prefix string) (err error) {
	size, sized := c.options[prefix+"max-size"]
	files, counted := c.options[prefix+"max-file"]
	c.MaxSize, c.MaxFiles = defaultSize, defaultFiles
	if sized && size == "-1" && c.Driver == JSONFile { // "local" has no log without a bound: its files are always rotated
		c.MaxSize = 0
	} else if sized {
		if c.MaxSize, err = units.FromHumanSize(size); err != nil {
			return refuse("invalid value for %smax-size: %s: %w", prefix, size, err)
		}
		if c.MaxSize <= 0 {
			return refuse("%smax-size must be a positive number", prefix)
		}
	}
	if counted {
		if c.MaxFiles, err = strconv.Atoi(files); err != nil {
			return refuse("invalid log opt %smax-file=%s: %w", prefix, files, err)
		}
		if c.MaxFiles < 1 {
			return refuse("%smax-file cannot be less than 1", prefix)
		}
		if c.MaxFiles > maxFiles {
			return refuse("%smax-file cannot be more than %d", prefix, maxFiles)
		}
	} else if sized && c.Driver == JSONFile {
		c.MaxFiles = 1
	}
	can := c.MaxFiles > 1 && c.MaxSize > 0
	c.Compress = can
	if said, ok := c.options[prefix+"compress"]; ok {
		if c.Compress, _ = strconv.ParseBool(said); c.Compress && !can {
			return refuse("%scompress cannot be true when max-file is less than 2 or max-size is not set", prefix)
		}
	}
	return nil
}

func (c *Config) parseMode() error {
	const nonBlocking = "non-blocking"
	mode := c.options["mode"]
	if mode != "" && mode != "blocking" && mode != nonBlocking {
		return refuse("logger: logging mode not supported: %s", mode)
	}
	size, ok := c.options["max-buffer-size"]
	if mode != nonBlocking {
		if ok {
			return refuse("logger: max-buffer-size option is only supported with 'mode=%s'", nonBlocking)
		}
		return nil
	}
	c.Buffer = defaultBuffer
	if ok {
		n, err := units.RAMInBytes(size)
		if err != nil {
			return refuse("error parsing option max-buffer-size: %w", err)
		}
		if n <= 0 || n > maxBuffer {
			return refuse("max-buffer-size=%s: want more than 0 and at most %s", size, units.BytesSize(maxBuffer))
		}
		c.Buffer = n
	}
	return nil
}

// maxBuffer bounds a ring, which lies in memory as a rule.
const maxBuffer = 1 << 30

// Ready reports why the driver cannot work on this host. A receiver that does not answer is no reason: what is not
// delivered waits in the log.
func (c Config) Ready() error {
	if c.Driver == Journald && !send.HasJournal() {
		return errkind.New(errkind.Unavailable, "failed to initialize logging driver: journald is not enabled on this host")
	}
	return nil
}

// Default fills in what the daemon was told to do where a container says nothing: the driver, json-file if the daemon was
// told none, and options of the same driver. It returns a new map where it adds to one.
func Default(driver string, opts map[string]string, daemonDriver string, daemonOpts map[string]string) (string, map[string]string) {
	daemonDriver = cmp.Or(daemonDriver, JSONFile)
	if driver == "" {
		driver = daemonDriver
	}
	if driver != daemonDriver || len(daemonOpts) == 0 {
		return driver, opts
	}
	all := maps.Clone(daemonOpts)
	maps.Copy(all, opts)
	return driver, all
}
