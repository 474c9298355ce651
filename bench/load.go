package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/moby/sys/signal"
)

// The promises about many containers.
const (
	listPromise   = 30 * time.Millisecond  // p99 of ps and inspect at 1,000 containers
	readyPromise  = 300 * time.Millisecond // from the start of pierd to its first list of 1,000 containers
	statsPromise  = 2.0                    // percent of one processor for 200 containers streamed once a second
	healthPromise = 5.0                    // percent of one processor for 100 health checks a second
	probePromise  = 2.0                    // the same for checks that pierd makes itself
	spreadPromise = 5.0                    // p99 of what is done at once, as a multiple of the median
)

// parallel runs exec, stop and rm in n containers at the same time, here and by the peer.
func (l *lab) parallel(n int) (bool, error) {
	type side struct {
		*fleet
		results []burstResult
	}
	steps := []struct {
		name string
		do   func(f *fleet, i int) error
	}{
		{"exec", (*fleet).command},
		{"stop", func(f *fleet, i int) error { return f.ask("POST", "/containers/"+f.at(i)+"/stop?t=0", "", nil) }},
		{"rm", func(f *fleet, i int) error { return f.ask("DELETE", "/containers/"+f.at(i), "", nil) }},
	}
	var sides []side
	for _, host := range []string{l.pierHost, l.dockHost} {
		client := apiClient(host)
		defer client.CloseIdleConnections()
		f, err := newFleet(client, "many", n, n, sleeper)
		if err != nil {
			return false, err
		}
		s := side{fleet: f}
		for _, step := range steps {
			r, err := f.atOnce(func(i int) error { return step.do(f, i) })
			if err != nil {
				return false, fmt.Errorf("%s: %w", step.name, err)
			}
			s.results = append(s.results, r)
		}
		sides = append(sides, s)
	}
	ok := true
	for i, step := range steps {
		ours, peers := sides[0].results[i], sides[1].results[i]
		spread := float64(ours.at(99)) / float64(ours.at(50))
		good := spread <= spreadPromise
		ok = ok && good
		fmt.Printf("%-34s %10.0f/s %10.0f/s %12s %9.1f\n", fmt.Sprintf("%d %s at once", n, step.name), ours.rate(), peers.rate(), "-", ours.rate()/peers.rate())
		fmt.Printf("%-34s %10.1f x %10.1f x %12s %9s %9s%s\n", "  p99 as a multiple of the median", spread, float64(peers.at(99))/float64(peers.at(50)), "-", "-",
			fmt.Sprintf("<= %.0f x", spreadPromise), verdict(good))
	}
	return ok, nil
}

// list measures ps and inspect at n containers while one of them is stuck: its supervisor is stopped, so that whoever
// asks something of a container waits.
func (l *lab) list(n, running int) (ok bool, err error) {
	client := apiClient(l.pierHost)
	defer client.CloseIdleConnections()
	f, err := newFleet(client, "listed", n, running, sleeper)
	if err != nil {
		return false, err
	}
	supervisor, err := l.supervisor()
	if err != nil {
		return false, err
	}
	send := func(name string) error { return run("", "kill", "-"+name, fmt.Sprint(supervisor)) }
	if err := send("STOP"); err != nil {
		return false, err
	}
	stuck := make(chan error, 1)
	go func() { stuck <- f.ask("POST", "/containers/"+f.at(0)+"/stop?t=0", "", nil) }()
	pier := func(args ...string) func(int) error {
		return func(int) error {
			return exec.Command(filepath.Join(l.bin, "pier"), append([]string{"-H", l.pierHost}, args...)...).Run()
		}
	}
	const times = 200
	ok = true
	for _, work := range []struct {
		name string
		do   func(i int) error
	}{
		{"GET containers/json", func(int) error { return f.ask("GET", "/containers/json?all=1", "", nil) }},
		{"GET containers/ID/json", func(i int) error { return f.ask("GET", "/containers/"+f.at(i%n)+"/json", "", nil) }},
		{"ps -a", pier("ps", "-a")},
		{"inspect", pier("inspect", f.at(0))},
	} {
		var took []time.Duration
		for i := range times {
			d, err := timed(func() error { return work.do(i) })
			if err != nil {
				_ = send("CONT")
				return false, fmt.Errorf("%s: %w", work.name, err)
			}
			took = append(took, d)
		}
		slices.Sort(took)
		p99 := took[times*99/100-1]
		good := p99 <= listPromise
		ok = ok && good
		fmt.Printf("%-34s %12s %12s %12s %9s %9s%s\n", fmt.Sprintf("%s of %d, median", work.name, n), ms(took[times/2]), "-", "-", "-", "-", "")
		fmt.Printf("%-34s %12s %12s %12s %9s %9s%s\n", "  p99", ms(p99), "-", "-", "-", "<= "+ms(listPromise), verdict(good))
	}
	if err := send("CONT"); err != nil {
		return false, err
	}
	<-stuck // it failed, or the container has stopped
	return ok, f.remove()
}

// stats streams the usage of n running containers at once.
func (l *lab) stats(n int, d time.Duration) (bool, error) {
	client := apiClient(l.pierHost)
	defer client.CloseIdleConnections()
	f, err := newFleet(client, "metered", n, n, sleeper)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	lines, errs := make([]int, n), make([]error, n)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = f.atOnce(func(i int) error {
			lines[i], errs[i] = f.stream(ctx, "/containers/"+f.at(i)+"/stats?stream=1")
			return errs[i]
		})
	}()
	time.Sleep(3 * time.Second) // all are connected, and what making the containers left behind is done
	used, err := l.share(d, nil)
	cancel()
	<-done
	if err != nil {
		return false, err
	}
	for i := range n {
		if errs[i] != nil || float64(lines[i]) < 0.8*d.Seconds() {
			return false, fmt.Errorf("statistics of %s: %d samples in %v, %v", f.at(i), lines[i], d, errs[i])
		}
	}
	ok := used <= statsPromise
	fmt.Printf("%-34s %10.1f %% %12s %12s %9s %9s%s\n", fmt.Sprintf("stats of %d once a second, CPU", n), used, "-", "-", "-", fmt.Sprintf("<= %.0f %%", statsPromise), verdict(ok))
	return ok, f.remove()
}

// checked is one way to check n containers once a second.
type checked struct {
	how, command, test string // the row's name; JSON: what the containers run, and how they are checked
	promise            float64
}

// health has n containers checked once a second, in each of the ways.
func (l *lab) health(n int, d time.Duration) (bool, error) {
	all, server := true, `["busybox","httpd","-f","-p","8080","-h","/etc"]`
	for _, c := range []checked{
		{"health checks", `["sleep","100000"]`, `["CMD","true"]`, healthPromise},
		{"health checks by HTTP", server, `["HTTP","http://:8080/ready"]`, probePromise},
		{"health checks by TCP", server, `["TCP",":8080"]`, probePromise},
		{"health checks by FILE", `["sleep","100000"]`, `["FILE","/etc/ready"]`, probePromise},
	} {
		ok, err := l.checked(c, n, d)
		if err != nil {
			return false, fmt.Errorf("%s: %w", c.how, err)
		}
		all = all && ok
	}
	return all, nil
}

func (l *lab) checked(how checked, n int, d time.Duration) (bool, error) {
	client := apiClient(l.pierHost)
	defer client.CloseIdleConnections()
	f, err := newFleet(client, "checked", n, n, `{"Image":"bb","Cmd":`+how.command+`,"StopSignal":"SIGKILL","HostConfig":{"NetworkMode":"none"},
		"Healthcheck":{"Test":`+how.test+`,"Interval":1000000000}}`)
	if err != nil {
		return false, err
	}
	time.Sleep(3 * time.Second)
	used, err := l.share(d, nil)
	if err != nil {
		return false, err
	}
	for i := range n {
		var c struct {
			State struct{ Health struct{ Status string } }
		}
		if err := f.ask("GET", "/containers/"+f.at(i)+"/json", "", &c); err != nil || c.State.Health.Status != "healthy" {
			return false, fmt.Errorf("%s is %q: %v", f.at(i), c.State.Health.Status, err)
		}
	}
	ok := used <= how.promise
	fmt.Printf("%-34s %10.1f %% %12s %12s %9s %9s%s\n", fmt.Sprintf("%d %s a second, CPU", n, how.how), used, "-", "-", "-", fmt.Sprintf("<= %.0f %%", how.promise), verdict(ok))
	return ok, f.remove()
}

// churn makes, runs to the end and removes n containers, and compares what the daemon holds before and after.
func (l *lab) churn(n int) (bool, error) {
	client := apiClient(l.pierHost)
	defer client.CloseIdleConnections()
	f := &fleet{client: client, name: "churned"}
	round := func(i int) error {
		body := `{"Image":"bb","Cmd":["true"],"HostConfig":{"NetworkMode":"none"}}`
		for _, step := range []struct{ method, path, body string }{
			{"POST", "/containers/create?name=" + f.at(i), body}, {"POST", "/containers/" + f.at(i) + "/start", ""},
			{"POST", "/containers/" + f.at(i) + "/wait", ""}, {"DELETE", "/containers/" + f.at(i), ""},
		} {
			if err := f.ask(step.method, step.path, step.body, nil); err != nil {
				return err
			}
		}
		return nil
	}
	if err := f.each(max(n/10, 50), round); err != nil { // what is made once is there
		return false, err
	}
	before, err := l.held(client)
	if err != nil {
		return false, err
	}
	begin := time.Now()
	if err := f.each(n, round); err != nil {
		return false, err
	}
	took := time.Since(begin)
	after, err := l.held(client)
	if err != nil {
		return false, err
	}
	ok := after.Goroutines <= before.Goroutines+8 && after.Files <= before.Files+8 && after.supervised <= before.supervised+8 &&
		after.pss <= before.pss*1.15+2048 && after.disk <= before.disk+1024
	fmt.Printf("%-34s %10.0f/s %12s %12s %9s %9s%s\n", fmt.Sprintf("churn of %d containers", n), float64(n)/took.Seconds(), "-", "-", "-", "flat", verdict(ok))
	fmt.Printf("  before: %v\n  after:  %v\n", before, after)
	return ok, nil
}

// ready ends pierd and starts it again with n containers on disk of which some run, and measures the time to its first
// answer, which is the list of all.
func (l *lab) ready(n, running, times int) (bool, error) {
	client := apiClient(l.pierHost)
	defer client.CloseIdleConnections()
	f, err := newFleet(client, "stored", n, running, sleeper)
	if err != nil {
		return false, err
	}
	var took []time.Duration
	for i := range times {
		how := "TERM"
		if i%2 == 1 {
			how = "KILL"
		}
		if err := l.pierd.Process.Signal(signal.SignalMap[how]); err != nil {
			return false, err
		}
		_ = l.pierd.Wait()
		client.CloseIdleConnections()
		begin := time.Now()
		if l.pierd, err = l.spawn("pierd.log", filepath.Join(l.bin, "pierd"), append(l.pierdFlags(), "-H", l.pierHost)...); err != nil {
			return false, err
		}
		var all []struct{ State string }
		for {
			if err = f.ask("GET", "/containers/json", "", &all); err == nil {
				break
			}
			if time.Since(begin) > time.Minute {
				return false, err
			}
			time.Sleep(time.Millisecond)
		}
		took = append(took, time.Since(begin))
		if len(all) < running {
			return false, fmt.Errorf("%d containers run, not %d", len(all), running)
		}
	}
	mid := median(took)
	ok := mid <= readyPromise
	fmt.Printf("%-34s %12s %12s %12s %9s %9s%s\n", fmt.Sprintf("ready with %d, %d running", n, running), ms(mid), "-", "-", "-", "<= "+ms(readyPromise), verdict(ok))
	return ok, f.remove()
}
