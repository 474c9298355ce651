package system

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pier/test/lab"
)

var bin string // folder of the programs under test

func TestMain(m *testing.M) { lab.Main(m, &bin) }

// fetch returns the page that a published port serves.
func fetch(address string) (string, error) {
	client := http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	answer, err := client.Get("http://" + address + "/")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return string(page), err
}

// TestSystemd boots a whole Debian, with no more than its name on the command line.
func TestSystemd(t *testing.T) {
	d := lab.Start(t, bin)
	d.Pier("import", "-c", `CMD ["/sbin/init"]`, lab.Debian(t), "debian")
	for _, client := range []string{"pier", "docker"} {
		t.Run(client, func(t *testing.T) {
			do := func(args ...string) string {
				t.Helper()
				r := d.Do(client, args...)
				if r.Code != 0 {
					t.Fatalf("%s %s: exit code %d\n%s%s", client, strings.Join(args, " "), r.Code, r.Out, r.Err)
				}
				return strings.TrimSpace(r.Out)
			}
			const limit = "268435456"
			id := do("run", "-d", "--name", "machine", "-p", "127.0.0.1::80", "-m", limit, "debian")
			booted(t, d)
			if active := do("exec", "machine", "systemctl", "is-active", "multi-user.target", "lighttpd", "cron"); active != "active\nactive\nactive" {
				t.Errorf("the services are %q", active)
			}
			address := do("port", "machine", "80/tcp")
			lab.Eventually(t, "the page", func() error { // a service is active before it listens
				page, err := fetch(address)
				if err == nil && !strings.Contains(page, "<html") {
					err = fmt.Errorf("it is %q", page)
				}
				return err
			})
			if machine := do("exec", "machine", "cat", "/etc/machine-id"); machine != id[:32] {
				t.Errorf("its machine-id is %s, want the beginning of %s", machine, id)
			}
			// It has control groups of its own, and its limits are out of its reach.
			if groups := do("exec", "machine", "systemctl", "show", "-P", "ControlGroup", "cron"); groups != "/system.slice/cron.service" {
				t.Errorf("cron's control group is %q", groups)
			}
			d.Do(client, "exec", "machine", "sh", "-c", "for f in $(find /sys/fs/cgroup -name memory.max -o -name memory.limit_in_bytes); do echo 1000000000 >$f; done")
			if got := memoryLimit(t, d, id); got != limit {
				t.Errorf("its memory limit has become %s", got)
			}
			// A stop whose time is over ends in 137.
			do("stop", "-t", "300", "machine")
			if state := do("inspect", "-f", "{{.State.ExitCode}} {{.Config.StopSignal}}", "machine"); state != "0 SIGRTMIN+3" {
				t.Errorf("stopped with %s", state)
			}
			do("start", "machine")
			booted(t, d)
			do("rm", "-f", "machine")
		})
	}

	// Nobody has to have it: what the user says counts.
	d.Pier("create", "--name", "plain", "--security-opt", "systemd=false", "debian")
	d.Pier("create", "--name", "own", "--stop-signal", "INT", "--tmpfs", "/run:size=1m", "-e", "container=mine", "debian")
	for name, want := range map[string]string{"plain": "none 0 []", "own": "INT 3 [container=mine]"} {
		if got := d.Pier("inspect", "-f", "{{or .Config.StopSignal \"none\"}} {{len .HostConfig.Tmpfs}} {{.Config.Env}}", name); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		d.Pier("rm", name)
	}
}

// booted waits until all of systemd's jobs are done.
func booted(t *testing.T, d *lab.Daemon) {
	t.Helper()
	lab.Eventually(t, "systemd to take questions", func() error {
		if r := d.Do("pier", "exec", "machine", "systemctl", "show-environment"); r.Code != 0 {
			return errors.New(r.Err)
		}
		return nil
	})
	if r := d.Do("pier", "exec", "machine", "systemctl", "is-system-running", "--wait"); r.Out != "running\n" {
		failed := d.Do("pier", "exec", "machine", "systemctl", "--failed", "--no-pager")
		t.Fatalf("the system is %s%s\n%s", r.Out, r.Err, failed.Out)
	}
}

// memoryLimit is what the host has for the container.
func memoryLimit(t *testing.T, d *lab.Daemon, id string) string {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/memory/pier-test-%s/%s/memory.limit_in_bytes", "/sys/fs/cgroup/pier-test-%s/%s/memory.max"} {
		if value, err := os.ReadFile(fmt.Sprintf(pattern, d.Name, id)); err == nil {
			return strings.TrimSpace(string(value))
		}
	}
	t.Fatal("the container has no memory limit")
	return ""
}

// TestInit runs the init of busybox with two services; it waits for signals without a handler, and ends on its own one.
func TestInit(t *testing.T) {
	d := lab.Start(t, bin)
	d.Pier("import", lab.Busybox(t, t.TempDir()), "busybox")
	d.Pier("build", "-q", "-t", "machine", "testdata/init")
	d.Pier("run", "-d", "--name", "machine", "-p", "127.0.0.1::80", "machine")
	address := d.Pier("port", "machine", "80")
	d.Eventually("both services", func() error {
		if page, err := fetch(address); err != nil || page != "a page\n" {
			return fmt.Errorf("page %q, %w", page, err)
		}
		if r := d.Do("pier", "exec", "machine", "cat", "/var/log/beat"); r.Code != 0 {
			return errors.New(r.Err)
		}
		return nil
	})
	// What ends is started again, and what nobody waits for is reaped.
	d.Pier("exec", "machine", "sh", "-c", "kill $(ps | grep '[h]ttpd' | head -1 | sed 's/^ *//' | cut -d ' ' -f 1); (sleep 0.1 &)")
	d.Eventually("the service to come back", func() error { _, err := fetch(address); return err })
	d.Eventually("no zombies", func() error {
		if r := d.Do("pier", "exec", "machine", "sh", "-c", "grep -l '^State:.Z' /proc/[0-9]*/status"); r.Out != "" {
			return errors.New(r.Out)
		}
		return nil
	})
	if out := d.Do("pier", "stop", "-t", "300", "machine"); out.Err != "" {
		t.Errorf("stop says %q", out.Err)
	}
	if code := d.Pier("inspect", "-f", "{{.State.ExitCode}}", "machine"); code != "0" {
		t.Errorf("it ended with %s", code)
	}
	d.Pier("cp", "machine:/var/log/down", filepath.Join(d.Dir, "down"))
	if text, err := os.ReadFile(filepath.Join(d.Dir, "down")); string(text) != "in good order\n" {
		t.Errorf("its last action left %q, %v", text, err)
	}
	d.Pier("rm", "machine")
}

// TestRouter lets a container with two networks forward packets between two others.
func TestRouter(t *testing.T) {
	d := lab.Start(t, bin)
	d.Pier("import", lab.Busybox(t, t.TempDir()), "busybox")
	for _, name := range []string{"left", "right"} {
		d.Pier("network", "create", name)
	}
	subnet := func(name string) string {
		return d.Pier("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", name)
	}
	address := func(name, network string) string {
		return d.Pier("inspect", "-f", "{{.NetworkSettings.Networks."+network+".IPAddress}}", name)
	}
	d.Pier("run", "-d", "--name", "router", "--cap-add", "NET_ADMIN", "--sysctl", "net.ipv4.ip_forward=1", "--network", "left", "--network", "right", "busybox", "sleep", "600")
	d.Pier("run", "-d", "--name", "near", "--cap-add", "NET_ADMIN", "--network", "left", "busybox", "sleep", "600")
	d.Pier("run", "-d", "--name", "far", "--cap-add", "NET_ADMIN", "--network", "right", "busybox", "nc", "-ll", "-p", "5000", "-e", "/bin/echo", "over there")
	ask := func() lab.Result {
		return d.Do("pier", "exec", "near", "/bin/busybox", "timeout", "3", "nc", "-w", "2", address("far", "right"), "5000")
	}
	if r := ask(); r.Code == 0 {
		t.Errorf("the networks reach each other without the router: %q", r.Out)
	}
	if r := d.Do("pier", "run", "--rm", "--network", "left", "busybox", "ip", "route", "add", subnet("right"), "via", address("router", "left")); r.Code == 0 {
		t.Error("a container without NET_ADMIN changes its routes")
	}
	d.Pier("exec", "near", "ip", "route", "add", subnet("right"), "via", address("router", "left"))
	d.Pier("exec", "far", "ip", "route", "add", subnet("left"), "via", address("router", "right"))
	d.Eventually("an answer from the other network", func() error {
		if r := ask(); r.Out != "over there\n" {
			return fmt.Errorf("%q, %s", r.Out, r.Err)
		}
		return nil
	})
	// It goes through the router: without it there is no way.
	d.Pier("pause", "router")
	d.Eventually("an answer through a paused container, for forwarding is the kernel's", func() error {
		if r := ask(); r.Code != 0 {
			return errors.New(r.Err)
		}
		return nil
	})
	d.Pier("rm", "-f", "router")
	d.Eventually("the way to end", func() error { // the kernel takes its interfaces down in the background
		if r := ask(); r.Code == 0 {
			return fmt.Errorf("packets pass though the router is gone: %q", r.Out)
		}
		return nil
	})
	d.Pier("rm", "-f", "near", "far")
	d.Pier("network", "rm", "left", "right")
}
