//go:build amd64

package crash

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	dnet "github.com/moby/moby/api/types/network"
	"golang.org/x/sys/unix"

	"pier/api/docker"
	"pier/client"
	"pier/lib/errkind"
	"pier/test/lab"
)

var (
	full = flag.Bool("full", os.Getenv("PIER_KILL_MATRIX") == "full", "every cell of the kill matrix, not a sample")
	only = flag.String("cell", os.Getenv("PIER_KILL_CELL"), "the cells whose name holds this word, every one of them")
)

// attempts is how often a point is waited for.
const attempts = 4

// sample is how many cells of an operation run unless all do.
const sample = 30

// operation is one row of the matrix.
type operation struct {
	name string
	// prepare makes what the operation works on. Nothing of it is traced.
	prepare func(c *cell)
	// act is the operation. Its error is what its caller was told.
	act func(c *cell) error
	// right judges the state after the crash. It is called until it returns nil.
	right func(c *cell, told error) error
}

// every is how many points of an operation there are for one that the sample is taken from, where they are many: the others
// are much like it, or other rows look at them.
var every = map[string]int{"restart": 4, "health check": 6, "build": 3, "exec with a terminal": 2}

// cell is one crash: an operation, a point, and who dies.
type cell struct {
	*lab.Daemon
	t    testing.TB
	api  *client.Client
	name string // of its container
	id   string
	pid  int
	// first is process pid, held: the number may become another's.
	first *os.Process
	both  bool // the end of a process can go unseen
	lost  bool // that of an exec can, on this kernel
	sick  bool // a health check fails as soon as one probe does

	probed time.Time // the last probe before the operation
	image  string    // "" for busybox

	folder string // of its checkpoints
	able   bool   // CRIU works here

	program string // in the place of the script, "" for that
}

// deaths are who is killed at a point. The supervisor is pierd's child, but for the last: then its children are nobody's
// that knows Pier, and are reaped at once. That one is for points in a child alone.
var deaths = []death{{who: []string{inSupervisor}}, {who: []string{inPierd}}, {who: []string{inPierd, inSupervisor}},
	{who: []string{inSupervisor}, foreign: true}}

// TestKillMatrix kills pierd, the supervisor and both before every system call with an effect that an operation makes in
// either process, and in the child that becomes the container's. The points are found by watching the operation once.
func TestKillMatrix(t *testing.T) {
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			tr := newTracer(t)
			m := &matrix{t: t, d: d, tr: tr, op: op, exact: namesReaped(t)}
			m.run()
		})
	}
}

// matrix is one operation's row while it runs.
type matrix struct {
	t       *testing.T
	d       *lab.Daemon
	tr      *tracer
	op      operation
	n       int
	missed  []point // did not come again
	killed  int
	exact   bool // this kernel tells how an exec ended that nobody saw
	unseen  int  // execs whose end nobody saw
	unclean bool // what a failed cell left may fail the next
}

type death struct {
	point
	who     []string
	foreign bool // the supervisor is not this pierd's child
}

func (d death) String() string {
	who := strings.Join(d.who, " and ")
	if d.foreign {
		who = "a former pierd's " + who
	}
	return fmt.Sprintf("kill %s, %v", who, d.point)
}

func (m *matrix) run() {
	points := m.watch()
	var all []death
	for i, p := range points {
		if !*full && *only == "" && i%max(every[m.op.name], 1) != 0 {
			continue
		}
		for _, d := range deaths {
			if d.point = p; !d.foreign || p.Who == inChild {
				all = append(all, d)
			}
		}
	}
	cells := all
	switch {
	case *only != "":
		cells = slices.DeleteFunc(slices.Clone(all), func(d death) bool { return !strings.Contains(d.String(), *only) })
	case !*full && len(all) > sample:
		cells = nil
		for i := range sample { // spread evenly, each kind of death as often
			cells = append(cells, all[i*(len(all)-1)/(sample-1)])
		}
	}
	begin := time.Now()
	for _, d := range cells {
		hit := false
		for n := 0; n < attempts && !hit && !m.unclean; n++ {
			hit = m.cell(d)
		}
		if m.unclean {
			break
		}
		if !hit {
			m.missed = append(m.missed, d.point)
		}
	}
	m.t.Logf("%d points, %d cells of %d, %d killed, %d execs unseen, %d points did not come again, %v each", len(points), len(cells), len(all),
		m.killed, m.unseen, len(m.missed),
		(time.Since(begin) / time.Duration(max(len(cells), 1))).Round(time.Millisecond))
	// Which of several goroutines comes first decides how often a socket is written to, and what shares a commit of the store:
	// the point is there one time and not the next. It is tried again, so that few are left that a crash has not met.
	if len(m.missed)*10 > len(cells)+10 {
		m.t.Errorf("too many points did not come again: %v", m.missed)
	}
}

// watch runs the operation without a crash, three times: the first time is unlike all others. It returns the points that
// came both times after that; how often a socket is written to, say, is up to the scheduler too.
func (m *matrix) watch() (points []point) {
	for range 3 {
		before := points
		c := m.newCell()
		m.op.prepare(c)
		o := order{Pierd: m.d.Pid(), Supervisor: supervisor(m.t, m.d), Dir: m.d.Dir}
		atRest(o.Pierd, o.Supervisor)
		m.tr.begin(o)
		told := m.op.act(c)
		points, _ = m.tr.end()
		if told != nil {
			m.t.Fatalf("%s without a crash: %v", m.op.name, told)
		}
		m.settle(c, nil, "without a crash")
		if m.n == 3 {
			points = slices.DeleteFunc(points, func(p point) bool { return !slices.Contains(before, p) || again(p) })
		}
	}
	return points
}

// again reports whether a point is one more attempt at what was tried before: the freezer of cgroup v1 is written to until all
// stand still, which on a busy machine takes any number of times.
func again(p point) bool { return p.Nth > 3 && strings.HasSuffix(p.What, "freezer.state") }

func (m *matrix) newCell() *cell {
	m.n++
	api, err := client.New(client.Endpoint{Host: m.d.Host()})
	if err != nil {
		m.t.Fatal(err)
	}
	return &cell{Daemon: m.d, t: m.t, api: api, name: fmt.Sprintf("m%d", m.n)}
}

// cell is one crash. It reports whether the point came.
func (m *matrix) cell(x death) (hit bool) {
	c := m.newCell()
	defer c.api.Close()
	c.both = len(x.who) == 2
	c.lost = x.foreign && !m.exact
	m.family(x)
	m.op.prepare(c)
	pids := map[string]int{inPierd: m.d.Pid(), inSupervisor: supervisor(m.t, m.d)}
	o := order{Pierd: pids[inPierd], Supervisor: pids[inSupervisor], Dir: m.d.Dir, Stop: &x.point}
	for _, who := range x.who {
		o.Kill = append(o.Kill, pids[who])
	}
	m.tr.begin(o)
	told := m.op.act(c)
	_, hit = m.tr.end()
	if hit {
		m.killed++
		if slices.Contains(x.who, inPierd) {
			m.d.Signal(os.Kill)
			m.d.Run()
		}
		m.d.Eventually("another supervisor", func() error {
			if now := peer(m.d); now == 0 || slices.Contains(x.who, inSupervisor) && now == pids[inSupervisor] {
				return fmt.Errorf("process %d", now)
			}
			return nil
		})
	}
	unseen := errors.Is(told, errUnseen)
	if unseen {
		m.unseen++
	}
	if told != nil && !slices.Contains(x.who, inPierd) && !unseen {
		m.t.Errorf("%v: the caller was told: %v", x, told)
	}
	m.settle(c, told, x.String())
	return hit
}

// family makes the supervisor this pierd's child, or another's.
func (m *matrix) family(x death) {
	if x.foreign {
		killPierd(nil, m.d)
		return
	}
	if pid := supervisor(m.t, m.d); slices.Contains(x.who, inSupervisor) && parent(pid) != m.d.Pid() {
		if p := m.d.SupervisorProcess(); p != nil {
			_ = p.Kill()
			_ = p.Release()
		}
		m.d.Eventually("a supervisor of its own", func() error {
			if now := peer(m.d); now == 0 || parent(now) != m.d.Pid() {
				return fmt.Errorf("process %d", now)
			}
			return nil
		})
	}
}

// settle judges what there is after a crash, uses it, removes it, and wants nothing to be left.
func (m *matrix) settle(c *cell, told error, what string) {
	if err := soon(func() error { return m.op.right(c, told) }); err != nil {
		m.t.Errorf("%s: told %v: %v\n%s", what, told, err, scene(c.Name))
		m.unclean = true
	}
	if err := soon(c.agree); err != nil {
		m.t.Errorf("%s: told %v: %v", what, told, err)
		m.unclean = true
	}
	ctx := context.Background()
	list, err := c.api.Containers().List(ctx, client.ListOptions{All: true})
	if err != nil {
		m.t.Fatalf("%s: %v", what, err)
	}
	for _, s := range list {
		if err := c.api.Containers().Remove(ctx, s.ID, true, true); err != nil && !errkind.Is(err, errkind.NotFound) {
			m.t.Errorf("%s: remove: %v\n%s", what, err, scene(c.Name))
		}
	}
	if err := soon(c.agree); err != nil {
		m.t.Errorf("%s: after the removal: %v", what, err)
		m.unclean = true
	}
}

// soon calls f until it is content, for a minute at most.
func soon(f func() error) (err error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// script is what the containers run: two processes, an end that it chooses itself, a line for each start.
const script = `trap 'exit 9' TERM; echo up; sleep 1000 & wait`

func (c *cell) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", c.name, err, c.Log())
	}
}

func (c *cell) create(change func(*container.HostConfig)) {
	c.t.Helper()
	c.must(c.tryCreate(change))
}

func (c *cell) tryCreate(change func(*container.HostConfig)) error {
	port := dnet.MustParsePort("80/tcp")
	h := &container.HostConfig{Resources: container.Resources{Memory: 64 << 20, MemorySwap: 64 << 20}, Binds: []string{"named:/named"},
		PortBindings: dnet.PortMap{port: {{HostPort: ""}}}}
	if change != nil {
		change(h)
	}
	config := &container.Config{Image: cmp.Or(c.image, "busybox"), Cmd: []string{"sh", "-c", script}, Volumes: map[string]struct{}{"/anon": {}},
		ExposedPorts: dnet.PortSet{port: {}}}
	if c.program != "" {
		config.Cmd = []string{c.program}
	}
	if c.sick {
		config.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "sh", "-c", "echo >>/probes"}, Interval: 100 * time.Millisecond, Timeout: time.Minute, Retries: 1}
	}
	made, err := c.api.Containers().Create(context.Background(), c.name, "", container.CreateRequest{Config: config, HostConfig: h},
		docker.NewSecret{Secret: docker.Secret{Target: "word"}, Content: docker.SecretContent("hello\n")})
	c.id = made.ID
	return err
}

// state is the container's, by its name where the request that made it got no answer.
func (c *cell) state() (container.State, error) {
	ref := c.id
	if ref == "" {
		ref = c.name
	}
	in, err := c.api.Containers().Inspect(context.Background(), ref)
	if err != nil {
		return container.State{}, err
	}
	c.id, c.pid = in.ID, max(c.pid, 0)
	return *in.State, nil
}

// ready waits until the container has said that it is up.
func (c *cell) ready() {
	c.t.Helper()
	c.Eventually(c.name+" to be up", c.up)
	in, err := c.api.Containers().Inspect(context.Background(), c.id)
	c.must(err)
	c.pid = in.State.Pid
	c.first, err = os.FindProcess(c.pid)
	c.must(err)
	in, err = c.api.Containers().Inspect(context.Background(), c.id) // after it was held
	if c.must(err); in.State.Pid != c.pid {
		c.t.Fatalf("%s: it has ended before its time: %+v", c.name, in.State)
	}
}

func (c *cell) up() error {
	r, err := c.api.Streams().Logs(context.Background(), c.id, client.LogsOptions{})
	if err != nil {
		return err
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err == nil && !strings.Contains(string(text), "up\n") {
		err = fmt.Errorf("its log is %q", text)
	}
	return err
}

// works uses a running container.
func (c *cell) works() error {
	if err := c.up(); err != nil {
		return err
	}
	return c.exec("cat /run/secrets/word; exit 4", "hello\n", 4)
}

// exec runs a script in the container and wants it to print and return this.
func (c *cell) exec(script, want string, code int) error { return c.execIn(false, script, want, code) }

// execIn is exec, with a terminal or without.
func (c *cell) execIn(terminal bool, script, want string, code int) error {
	ctx := context.Background()
	id, err := c.api.Execs().Create(ctx, c.id, container.ExecCreateRequest{Cmd: []string{"sh", "-c", script}, AttachStdout: true, AttachStderr: true, Tty: terminal})
	if err != nil {
		return err
	}
	conn, err := c.api.Execs().Attach(ctx, id, container.ExecStartRequest{Tty: terminal})
	if err != nil {
		return err
	}
	defer conn.Close()
	var out bytes.Buffer
	if terminal {
		_, err = io.Copy(&out, conn)
	} else {
		_, err = stdcopy.StdCopy(&out, &out, conn)
	}
	if err != nil {
		return fmt.Errorf("exec printed %q: %w", out.String(), err)
	}
	x, err := c.api.Execs().Inspect(ctx, id)
	if err != nil || x.ExitCode == nil {
		return fmt.Errorf("exec has no exit code, %v, and printed %q", err, out.String())
	}
	unseen := *x.ExitCode == endUnknown && c.lost
	if out.String() != want || *x.ExitCode != code && !unseen {
		return fmt.Errorf("exec ended with %d, want %d, and printed %q, want %q", *x.ExitCode, code, out.String(), want)
	}
	if unseen {
		return errUnseen
	}
	return nil
}

// endUnknown is the exit code of what ended without anybody being able to see how.
const endUnknown = 255

// errUnseen is an exec that has run and printed all, and whose end nobody could see.
var errUnseen = errors.New("how the exec ended was not seen")

// namesReaped reports whether the kernel names the sender of a message who is gone and reaped (Linux >= 6.17): by that the
// next supervisor knows how an exec ended that it has never seen.
func namesReaped(t testing.TB) bool {
	var u unix.Utsname
	var major, minor int
	err := unix.Uname(&u)
	if err == nil {
		_, err = fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	}
	if err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 17
}

// end has the container end by itself, and waits for that and for what comes then.
func (c *cell) end(then func() error) error {
	result, err := c.api.Streams().Wait(context.Background(), c.id, container.WaitConditionNextExit)
	c.must(c.first.Signal(unix.SIGTERM))
	if err != nil {
		return err
	}
	got, err := result()
	if err == nil && got.StatusCode != 9 {
		err = fmt.Errorf("it ended with %d", got.StatusCode)
	}
	if err == nil && got.Error != nil {
		err = errors.New(got.Error.Message)
	}
	if err == nil { // what follows belongs to it, as long as there is a pierd that does it
		_ = soon(func() error {
			if err = then(); unix.Kill(c.Pid(), 0) != nil {
				return nil
			}
			return err
		})
	}
	return err
}

// forgotten says that the supervisor has no memory of the container any more.
func (c *cell) forgotten() error {
	if slices.Contains(names(c.Dir, "run/tasks"), c.id) {
		return errors.New("the supervisor has not forgotten it")
	}
	return nil
}

// again says that the container runs a second time.
func (c *cell) again() error {
	in, err := c.api.Containers().Inspect(context.Background(), c.id)
	if err != nil || !in.State.Running || in.State.Pid == c.pid || in.RestartCount != 1 {
		return fmt.Errorf("it is %+v after %d restarts, %v", in.State, in.RestartCount, err)
	}
	return nil
}

// ended wants the container to have ended with code; one that was never told to may still run.
func (c *cell) ended(told error, code int) error {
	s, err := c.state()
	if err != nil {
		return err
	}
	if s.Running && told != nil {
		if unix.Kill(s.Pid, 0) != nil {
			return fmt.Errorf("it is %+v, and its process is gone", s)
		}
		return nil
	}
	if s.Status != container.StateExited || s.ExitCode != code && !(c.both && s.ExitCode == endUnknown) {
		return fmt.Errorf("it is %+v, want exit code %d", s, code)
	}
	return nil
}

func (c *cell) memoryLimit() (int64, error) {
	for _, path := range []string{"/sys/fs/cgroup/memory/pier-test-%s/%s/memory.limit_in_bytes", "/sys/fs/cgroup/pier-test-%s/%s/memory.max"} {
		text, err := os.ReadFile(fmt.Sprintf(path, c.Name, c.id))
		if err == nil {
			return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		}
	}
	return 0, errors.New("it has no cgroup")
}

func supervisor(t testing.TB, d *lab.Daemon) int {
	t.Helper()
	pid := 0
	lab.Eventually(t, "the supervisor", func() error {
		if pid = peer(d); pid == 0 {
			return errors.New("none answers")
		}
		return nil
	})
	return pid
}
