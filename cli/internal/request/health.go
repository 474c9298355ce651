package request

import (
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/pflag"

	"pier/api/docker"
)

// health are the flags of a container's health check.
type health struct {
	command, http, tcp, grpc, file          string
	interval, timeout, start, startInterval time.Duration
	retries                                 int
	none                                    bool
}

func (h *health) register(s *pflag.FlagSet) {
	s.StringVar(&h.command, "health-cmd", "", "Command to run to check health")
	s.StringVar(&h.http, "health-http", "", "Check health by HTTP, without a program in the container ([https://]:port/path)")
	s.StringVar(&h.tcp, "health-tcp", "", "Check health by connecting to a port of the container (:port)")
	s.StringVar(&h.grpc, "health-grpc", "", "Check health by gRPC's health protocol (:port[/service])")
	s.StringVar(&h.file, "health-file", "", "Check health by looking for a file in the container (path)")
	s.DurationVar(&h.interval, "health-interval", 0, "Time between running the check (ms|s|m|h)")
	s.DurationVar(&h.timeout, "health-timeout", 0, "Maximum time to allow one check to run (ms|s|m|h)")
	s.DurationVar(&h.start, "health-start-period", 0, "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)")
	s.DurationVar(&h.startInterval, "health-start-interval", 0, "Time between running the check during the start period (ms|s|m|h)")
	s.IntVar(&h.retries, "health-retries", 0, "Consecutive failures needed to report unhealthy")
	s.BoolVar(&h.none, "no-healthcheck", false, "Disable any container-specified HEALTHCHECK")
}

// set writes what the flags say to config.
func (h *health) set(config *container.Config) error {
	test, err := h.test()
	if err != nil {
		return err
	}
	given := test != nil || h.interval != 0 || h.timeout != 0 || h.start != 0 || h.startInterval != 0 || h.retries != 0
	switch {
	case h.none && given:
		return invalid("--no-healthcheck conflicts with --health-* options")
	case h.none:
		config.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
		return nil
	case !given:
		return nil
	}
	for name, d := range map[string]time.Duration{"health-interval": h.interval, "health-timeout": h.timeout,
		"health-start-period": h.start, "health-start-interval": h.startInterval} {
		if d < 0 {
			return invalid("--%s cannot be negative", name)
		}
	}
	if h.retries < 0 {
		return invalid("--health-retries cannot be negative")
	}
	config.Healthcheck = &container.HealthConfig{Test: test, Interval: h.interval, Timeout: h.timeout, StartPeriod: h.start, StartInterval: h.startInterval, Retries: h.retries}
	return nil
}

// test is what is checked, nil for nothing. The server reads addresses and paths.
func (h *health) test() (test []string, err error) {
	port, service, named := strings.Cut(h.grpc, "/")
	grpc := []string{docker.ProbeGRPC, port}
	if named {
		grpc = append(grpc, service)
	}
	for _, one := range []struct {
		given string
		test  []string
	}{
		{h.command, []string{"CMD-SHELL", h.command}}, {h.http, []string{docker.ProbeHTTP, h.http}}, {h.tcp, []string{docker.ProbeTCP, h.tcp}},
		{h.grpc, grpc}, {h.file, []string{docker.ProbeFile, h.file}},
	} {
		if one.given == "" {
			continue
		}
		if test != nil {
			return nil, invalid("conflicting options: only one of --health-cmd, --health-http, --health-tcp, --health-grpc and --health-file can be given")
		}
		test = one.test
	}
	return test, nil
}
