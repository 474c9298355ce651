package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// workers is how many requests are under way at once where only the result counts.
const workers = 16

// sleeper is a container that does nothing, without a network.
const sleeper = `{"Image":"bb","Cmd":["sleep","100000"],"StopSignal":"SIGKILL","HostConfig":{"NetworkMode":"none"}}`

// fleet is many containers of one daemon, called name0, name1 and so on.
type fleet struct {
	client *http.Client
	name   string
	n      int
}

// apiClient speaks to a daemon's socket, over as many connections as there are requests at once.
func apiClient(host string) *http.Client {
	path := strings.TrimPrefix(host, "unix://")
	return &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 512,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

// newFleet makes n containers of body and starts the first of them.
func newFleet(client *http.Client, name string, n, running int, body string) (*fleet, error) {
	f := &fleet{client: client, name: name, n: n}
	return f, f.each(n, func(i int) error {
		err := f.ask("POST", "/containers/create?name="+f.at(i), body, nil)
		if err == nil && i < running {
			err = f.ask("POST", "/containers/"+f.at(i)+"/start", "", nil)
		}
		return err
	})
}

func (f *fleet) at(i int) string { return f.name + strconv.Itoa(i) }

// remove ends and removes all of them.
func (f *fleet) remove() error {
	return f.each(f.n, func(i int) error { return f.ask("DELETE", "/containers/"+f.at(i)+"?force=1&v=1", "", nil) })
}

// each calls do for 0 to n-1, a few at a time.
func (f *fleet) each(n int, do func(i int) error) error {
	next := make(chan int)
	errs := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range next {
				if errs[w] == nil {
					errs[w] = do(i)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
	return errors.Join(errs...)
}

// atOnce calls do for all containers at the same time and returns how long each took from the common beginning.
func (f *fleet) atOnce(do func(i int) error) (burstResult, error) {
	each, errs := make([]time.Duration, f.n), make([]error, f.n)
	var all sync.WaitGroup
	begin := time.Now()
	for i := range f.n {
		all.Go(func() {
			errs[i] = do(i)
			each[i] = time.Since(begin)
		})
	}
	all.Wait()
	r := burstResult{whole: time.Since(begin), each: each}
	slices.Sort(r.each)
	return r, errors.Join(errs...)
}

func (f *fleet) ask(method, path, body string, out any) error {
	return ask(f.client, method, path, body, out)
}

// command runs one exec in each container to its end.
func (f *fleet) command(i int) error { return command(f.client, f.at(i)) }

// command runs one exec to its end, as a client without a terminal does, by the three requests of Docker's SDKs.
func command(client *http.Client, container string) error {
	var made struct{ ID string }
	if err := ask(client, "POST", "/containers/"+container+"/exec", `{"Cmd":["true"],"AttachStdout":true}`, &made); err != nil {
		return err
	}
	if err := ask(client, "POST", "/exec/"+made.ID+"/start", `{}`, nil); err != nil {
		return err
	}
	var end struct {
		Running  bool
		ExitCode *int
	}
	if err := ask(client, "GET", "/exec/"+made.ID+"/json", "", &end); err != nil {
		return err
	}
	if end.Running || end.ExitCode == nil || *end.ExitCode != 0 {
		return fmt.Errorf("exec in %s: %+v", container, end)
	}
	return nil
}

// stream reads an answer that has no end until ctx is done, and counts its lines.
func (f *fleet) stream(ctx context.Context, path string) (lines int, err error) {
	r, err := http.NewRequestWithContext(ctx, "GET", "http://engine/v1.41"+path, nil)
	if err != nil {
		return 0, err
	}
	response, err := f.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	piece := make([]byte, 32<<10)
	for {
		n, err := response.Body.Read(piece)
		lines += strings.Count(string(piece[:n]), "\n")
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				err = nil
			}
			return lines, err
		}
	}
}

// supervisor is the process number of pierd's supervisor.
func (l *lab) supervisor() (int, error) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", l.pierd.Process.Pid))
	for _, path := range tasks {
		children, _ := os.ReadFile(path)
		for _, child := range strings.Fields(string(children)) {
			if name, _ := os.ReadFile("/proc/" + child + "/comm"); strings.HasPrefix(string(name), "pier-runtime") {
				return strconv.Atoi(child)
			}
		}
	}
	return 0, errors.New("pierd has no supervisor")
}

// cpu is the processor time that pierd and its supervisor have used, without their children.
func (l *lab) cpu() (time.Duration, error) {
	supervisor, err := l.supervisor()
	if err != nil {
		return 0, err
	}
	total := 0.0
	for _, pid := range []int{l.pierd.Process.Pid, supervisor} {
		// Nanoseconds for each thread; /proc/PID/stat has hundredths of seconds.
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, path := range threads {
			data, _ := os.ReadFile(path)
			if fields := strings.Fields(string(data)); len(fields) > 0 {
				ns, _ := strconv.ParseFloat(fields[0], 64)
				total += ns
			}
		}
	}
	return time.Duration(total), nil
}

// share is what pierd and its supervisor use of one processor while work goes on.
func (l *lab) share(d time.Duration, work func() error) (float64, error) {
	before, err := l.cpu()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if work != nil {
		err = work()
	} else {
		time.Sleep(d)
	}
	if err != nil {
		return 0, err
	}
	after, err := l.cpu()
	return 100 * float64(after-before) / float64(time.Since(begin)), err
}

// held is what a daemon holds on to.
type held struct {
	Goroutines int     `json:"NGoroutines"`
	Files      int     `json:"NFd"`
	pss        float64 // KiB
	supervised int     // descriptors of the supervisor
	disk       int     // KiB below the data root, without the journal of events: that grows up to a bound of its own
}

func (l *lab) held(client *http.Client) (h held, err error) {
	client.CloseIdleConnections()
	time.Sleep(12 * time.Second) // what runs in the background ends, and memory that is free is given back
	if err = ask(client, "GET", "/info", "", &h); err != nil {
		return h, err
	}
	supervisor, err := l.supervisor()
	if err != nil {
		return h, err
	}
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", supervisor))
	h.supervised = len(files)
	if h.pss, err = daemonPSS(l.pierd.Process.Pid, "pierd", "pier-runtime"); err != nil {
		return h, err
	}
	out, err := exec.Command("du", "-sk", "--exclude=events", filepath.Join(l.dir, "pier-data")).Output()
	if err != nil {
		return h, err
	}
	h.disk, err = strconv.Atoi(strings.Fields(string(out))[0])
	return h, err
}

func (h held) String() string {
	return fmt.Sprintf("%d goroutines, %d+%d descriptors, %.1f MB, %d KiB on disk", h.Goroutines, h.Files, h.supervised, h.pss/1024, h.disk)
}
