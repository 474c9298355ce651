package live

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"

	"pier/cli/internal/table"
	"pier/client"
)

// processColumns are what the processes of a container are shown by.
const processColumns = "-o user,pid,ppid,s,pcpu,pmem,rss,etime,time,args"

// Top shows all containers that run and what they use, and, one of them chosen, its processes.
type Top struct {
	ctx    context.Context
	c      *client.Client
	board  *Board
	colour bool
	now    func() time.Time
	wake   chan struct{} // there is something new to ask for

	// Of the goroutine that draws.
	order    Order
	selected string // identifier of the container under the cursor
	first    int    // line at the top
	visible  []string

	mu        sync.Mutex // guards what the goroutine that asks fills in
	inside    string     // the container whose processes are shown, "" for the list
	alone     bool       // there is no list to go back to
	processes container.TopResponse
	summaries map[string]container.Summary
	memory    int64 // of the host, bytes
	cpus      int
	failure   error
}

// NewTop returns a view of all containers, or, where ref is not "", of the processes of one. It asks the daemon until ctx
// ends; an error beforehand is returned.
func NewTop(ctx context.Context, c *client.Client, ref string, colour bool) (*Top, error) {
	t := &Top{ctx: ctx, c: c, board: NewBoard(ctx, c, false), colour: colour, now: time.Now, wake: make(chan struct{}, 1), order: Order{By: "cpu"},
		inside: ref, alone: ref != "", summaries: map[string]container.Summary{}}
	info, err := c.System().Info(ctx)
	if err != nil {
		return nil, err
	}
	t.memory, t.cpus = info.MemTotal, info.NCPU
	if t.ask(); t.failure != nil {
		return nil, t.failure
	}
	if err := t.board.Ready(); err != nil {
		return nil, err
	}
	go t.follow()
	return t, nil
}

// follow asks anew every second, and at once when the user has chosen something else.
func (t *Top) follow() {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-t.wake:
		case <-t.ctx.Done():
			return
		}
		t.ask()
	}
}

// ask gets the list of containers, or the processes of one.
func (t *Top) ask() {
	t.mu.Lock()
	inside := t.inside
	t.mu.Unlock()
	if inside != "" {
		top, err := t.c.Containers().Top(t.ctx, inside, processColumns)
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.inside == inside {
			t.processes, t.failure = top, err
		}
		return
	}
	list, err := t.c.Containers().List(t.ctx, client.ListOptions{})
	summaries := map[string]container.Summary{}
	for _, s := range list {
		summaries[s.ID] = s
		t.board.Watch(s.ID, false)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure = err; err == nil {
		t.summaries = summaries
	}
}

// Key implements View.
func (t *Top) Key(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch key {
	case "q":
		return true
	case "up", "k":
		t.move(-1)
	case "down", "j":
		t.move(1)
	case "enter":
		if t.inside == "" && t.selected != "" {
			t.inside, t.processes, t.first = t.selected, container.TopResponse{}, 0
			t.again()
		}
	case "escape":
		if t.inside != "" && !t.alone {
			t.inside, t.first, t.failure = "", 0, nil
			t.again()
		}
	default:
		t.order.key(key)
	}
	return false
}

func (t *Top) again() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// move puts the cursor by lines, or scrolls processes.
func (t *Top) move(by int) {
	if t.inside != "" {
		t.first = max(0, t.first+by)
		return
	}
	at := slices.Index(t.visible, t.selected)
	if at = min(max(at+by, 0), len(t.visible)-1); at >= 0 {
		t.selected = t.visible[at]
	}
}

// Lines implements View.
func (t *Top) Lines(width, height int) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if height < 4 {
		return []string{table.Ellipsis("too low a window", width)}
	}
	var head string
	var body []string
	help := "q quit  enter processes  " + orderHelp
	if t.inside == "" {
		head, body = t.overview(width, height-3)
	} else {
		head, body = t.inner(width, height-3)
		if help = "q quit  escape back  sort: c CPU  m memory  p PID  n command  r reverse"; t.alone {
			help = strings.Replace(help, "escape back  ", "", 1)
		}
	}
	lines := []string{Paint("1", table.Ellipsis(head, width)), ""}
	if t.failure != nil {
		lines[1] = table.Ellipsis(printable(t.failure.Error()), width)
	}
	lines = append(lines, body...)
	for len(lines) < height-1 {
		lines = append(lines, "")
	}
	return append(lines[:height-1], Paint("2", table.Ellipsis(help, width)))
}

// overview is the list of containers in height lines, the titles among them.
func (t *Top) overview(width, height int) (head string, lines []string) {
	columns := []Column{{Title: marked("NAME", "name", t.order), Cut: true}, {Title: marked("CPU %", "cpu", t.order), Right: true}, {Title: "", Keep: 2},
		{Title: marked("MEM", "mem", t.order), Right: true, Keep: 9}, {Title: "MEM %", Right: true, Keep: 7}, {Title: marked("NET IN/OUT /s", "net", t.order), Right: true, Keep: 5},
		{Title: marked("DISK R/W /s", "block", t.order), Right: true, Keep: 4}, {Title: marked("PIDS", "pids", t.order), Right: true, Keep: 6}, {Title: "STATUS", Keep: 3}, {Title: "IMAGE", Keep: 1, Cut: true}}
	var rows [][]Cell
	var ids []string
	var cpu, memory float64
	for _, f := range t.board.figures(t.order) {
		s, running := t.summaries[f.Ref]
		if !running {
			continue
		}
		cpu, memory = cpu+f.CPU, memory+f.Memory
		ids = append(ids, f.Ref)
		rows = append(rows, []Cell{{Text: f.Name}, {fmt.Sprintf("%.1f", f.CPU), t.heat(f.CPU)}, {bar(f.CPU, 10), t.heat(f.CPU)},
			{Text: units.BytesSize(f.Memory)}, {fmt.Sprintf("%.1f", f.MemoryShare()), t.heat(f.MemoryShare())}, {Text: rate(f.rx) + "/" + rate(f.tx)},
			{Text: rate(f.read) + "/" + rate(f.written)}, {Text: strconv.FormatUint(f.PIDs, 10)}, {Text: s.Status}, {Text: s.Image}})
	}
	if t.visible = ids; !slices.Contains(ids, t.selected) {
		t.selected = ""
		if len(ids) > 0 {
			t.selected = ids[0]
		}
	}
	head = fmt.Sprintf("pier top  %s  %d running  CPU %.1f%% of %d  MEM %s of %s", t.now().Format(time.TimeOnly), len(ids), cpu, t.cpus*100, units.BytesSize(memory), units.BytesSize(float64(t.memory)))
	at := max(0, slices.Index(ids, t.selected))
	for i := range rows {
		if i == at {
			for j := range rows[i] {
				rows[i][j].Colour = "" // the whole line is turned round
			}
		}
	}
	lines = Fit(columns, rows, width)
	if len(rows) > 0 {
		l := lines[at+1]
		lines[at+1] = Paint("7", l+strings.Repeat(" ", max(0, width-length(l))))
	}
	if at < t.first {
		t.first = at
	}
	if room := height - 1; at >= t.first+room {
		t.first = at - room + 1
	}
	return head, t.window(lines, height)
}

// window is the titles and the part of the lines below them that begins at first.
func (t *Top) window(lines []string, height int) []string {
	t.first = max(0, min(t.first, len(lines)-height))
	body := lines[1+t.first:]
	return append([]string{Paint("4", lines[0])}, body[:min(len(body), height-1)]...)
}

// inner is the list of processes of one container.
func (t *Top) inner(width, height int) (head string, lines []string) {
	columns := make([]Column, len(t.processes.Titles))
	at := map[string]int{}
	for i, title := range t.processes.Titles {
		at[title] = i
		columns[i] = Column{Title: title, Right: strings.Contains("PID PPID %CPU %MEM RSS ELAPSED TIME", title), Keep: keepProcess(title), Cut: title == "COMMAND"}
	}
	list := slices.Clone(t.processes.Processes)
	t.sortProcesses(list, at)
	rows := make([][]Cell, 0, len(list))
	for _, p := range list {
		cells := make([]Cell, len(columns))
		for i := range cells {
			if i < len(p) {
				cells[i].Text = p[i]
			}
			switch n := number(cells[i].Text); columns[i].Title {
			case "RSS":
				cells[i].Text = units.BytesSize(n * 1024)
			case "%CPU", "%MEM":
				cells[i].Colour = t.heat(n)
			}
		}
		rows = append(rows, cells)
	}
	name := t.inside
	if s, ok := t.summaries[t.inside]; ok && len(s.Names) > 0 {
		name = strings.TrimPrefix(s.Names[0], "/")
	}
	head = fmt.Sprintf("pier top  %s  %s", t.now().Format(time.TimeOnly), name)
	if len(columns) == 0 {
		return head, nil
	}
	if head += fmt.Sprintf("  %d process", len(rows)); len(rows) != 1 {
		head += "es"
	}
	return head, t.window(Fit(columns, rows, width), height)
}

// keepProcess is Column.Keep by title.
func keepProcess(title string) int {
	return 1 + slices.Index([]string{"PPID", "ELAPSED", "%MEM", "USER", "S", "TIME", "RSS", "%CPU"}, title)
}

func (t *Top) sortProcesses(list [][]string, at map[string]int) {
	by, known := map[string]string{"cpu": "%CPU", "mem": "RSS", "pids": "PID", "name": "COMMAND"}[t.order.By]
	i, there := at[by]
	if !known || !there {
		return
	}
	slices.SortStableFunc(list, func(x, y []string) int {
		switch by {
		case "COMMAND":
			return strings.Compare(x[i], y[i])
		case "PID":
			return cmp.Compare(number(x[i]), number(y[i]))
		}
		return cmp.Compare(number(y[i]), number(x[i]))
	})
	if t.order.Reverse {
		slices.Reverse(list)
	}
}

func (t *Top) heat(percent float64) string {
	if !t.colour {
		return ""
	}
	return heat(percent)
}

func number(s string) float64 {
	n, _ := strconv.ParseFloat(s, 64)
	return n
}

// bar draws a share of one processor in so many characters.
func bar(percent float64, cells int) string {
	full := min(int(percent/100*float64(cells)+0.5), cells)
	return strings.Repeat("|", full) + strings.Repeat(".", cells-full)
}

// rate words bytes a second in a few characters.
func rate(perSecond float64) string {
	if perSecond < 1 {
		return "0"
	}
	return strings.TrimSuffix(units.HumanSizeWithPrecision(perSecond, 2), "B")
}
