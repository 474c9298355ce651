package process

import (
	"bytes"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"pier/kernel/cgroup"
	"pier/kernel/fsinfo"
	"pier/lib/errkind"
)

// column is one that ps knows: its title and how its value is made.
type column struct {
	title string
	value func(p *proc, h *host) string
}

// columns by the names that ps -o takes.
var columns = map[string]column{
	"user": {"USER", userName}, "euser": {"EUSER", userName}, "uname": {"USER", userName}, "uid": {"UID", (*proc).uidText}, "euid": {"EUID", (*proc).uidText},
	"gid":  {"GID", func(p *proc, _ *host) string { return strconv.Itoa(p.gid) }},
	"pid":  {"PID", func(p *proc, _ *host) string { return strconv.Itoa(p.pid) }},
	"ppid": {"PPID", func(p *proc, _ *host) string { return p.field(4) }},
	"pgid": {"PGID", func(p *proc, _ *host) string { return p.field(5) }}, "pgrp": {"PGRP", func(p *proc, _ *host) string { return p.field(5) }},
	"sid": {"SID", func(p *proc, _ *host) string { return p.field(6) }}, "sess": {"SESS", func(p *proc, _ *host) string { return p.field(6) }},
	"c":    {"C", func(p *proc, h *host) string { return strconv.Itoa(int(p.cpu(h))) }},
	"pcpu": {"%CPU", (*proc).cpuText}, "%cpu": {"%CPU", (*proc).cpuText},
	"pmem": {"%MEM", (*proc).memText}, "%mem": {"%MEM", (*proc).memText},
	"vsz": {"VSZ", (*proc).vsz}, "vsize": {"VSZ", (*proc).vsz}, "rss": {"RSS", (*proc).rss}, "rssize": {"RSS", (*proc).rss},
	"tty": {"TT", (*proc).tty}, "tt": {"TT", (*proc).tty}, "tname": {"TTY", (*proc).tty},
	"stat": {"STAT", (*proc).stat}, "state": {"S", func(p *proc, _ *host) string { return p.field(3) }}, "s": {"S", func(p *proc, _ *host) string { return p.field(3) }},
	"stime": {"STIME", (*proc).stime}, "start": {"STARTED", (*proc).stime}, "start_time": {"START", (*proc).stime},
	"lstart": {"STARTED", func(p *proc, h *host) string { return p.started(h).Format("Mon Jan _2 15:04:05 2006") }},
	"etime":  {"ELAPSED", func(p *proc, h *host) string { return elapsed(h.now.Sub(p.started(h))) }},
	"etimes": {"ELAPSED", func(p *proc, h *host) string { return strconv.Itoa(int(h.now.Sub(p.started(h)).Seconds())) }},
	"time":   {"TIME", (*proc).time}, "cputime": {"TIME", (*proc).time},
	"comm": {"COMMAND", (*proc).name}, "ucmd": {"CMD", (*proc).name},
	"args": {"COMMAND", (*proc).args}, "command": {"COMMAND", (*proc).args}, "cmd": {"CMD", (*proc).args},
	"pri": {"PRI", func(p *proc, _ *host) string { return p.field(18) }}, "ni": {"NI", func(p *proc, _ *host) string { return p.field(19) }}, "nice": {"NI", func(p *proc, _ *host) string { return p.field(19) }},
	"nlwp": {"NLWP", func(p *proc, _ *host) string { return p.field(20) }}, "thcount": {"THCNT", func(p *proc, _ *host) string { return p.field(20) }},
	"wchan": {"WCHAN", func(p *proc, _ *host) string { return "-" }},
	"f":     {"F", func(p *proc, _ *host) string { return "4" }},
}

// chosen is a column as the user titled it.
type chosen struct {
	title string
	value func(p *proc, h *host) string
}

// layout is the form of a table.
type layout struct {
	columns []chosen
	by      []order
	forest  bool
}

// parse reads ps's arguments.
func parse(args []string) (l layout, err error) {
	var names []string
	words := strings.Fields(strings.Join(args, " "))
	if len(words) == 0 {
		words = []string{"-ef"}
	}
	for i := 0; i < len(words); i++ {
		w := words[i]
		list, isList := columnList(w)
		keys, sorts := sortList(w)
		if sorts {
			list = keys
		}
		if (sorts || isList) && list == "" {
			if i++; i == len(words) {
				return l, errkind.New(errkind.Invalid, "ps: option %q needs a list of columns", w)
			}
			list = words[i]
		}
		switch {
		case sorts:
			if l.by, err = orders(list); err != nil {
				return l, err
			}
		case isList:
			if l.columns, err = pick(l.columns, list); err != nil {
				return l, err
			}
		case w == "--forest":
			l.forest = true
		default:
			preset, err := presetOf(w)
			if err != nil {
				return l, err
			}
			if preset != nil {
				names = preset
			}
			l.forest = l.forest || !strings.HasPrefix(w, "-") && strings.Contains(w, "f")
		}
	}
	if l.columns != nil {
		if !slices.ContainsFunc(l.columns, func(c chosen) bool { return c.title == "PID" }) {
			return l, errkind.New(errkind.Invalid, "Couldn't find PID field in ps output")
		}
		return l, nil
	}
	if names == nil {
		names = []string{"pid", "tname", "time", "ucmd"}
	}
	for _, n := range names {
		col := chosen(columns[n])
		if n == "user" && slices.Contains(names, "c") {
			col.title = "UID"
		}
		l.columns = append(l.columns, col)
	}
	return l, nil
}

// pick adds the columns of a list.
func pick(to []chosen, list string) ([]chosen, error) {
	for part := range strings.SplitSeq(list, ",") {
		name, title, named := strings.Cut(part, "=")
		col, ok := columns[strings.ToLower(name)]
		if !ok {
			return nil, errkind.New(errkind.Invalid, "ps: unknown column %q", name)
		}
		if named {
			col.title = title
		}
		to = append(to, chosen(col))
	}
	return to, nil
}

// sortList recognises --sort LIST, --sort=LIST, k LIST and kLIST.
func sortList(w string) (list string, ok bool) {
	if w == "--sort" {
		return "", true
	}
	if list, ok = strings.CutPrefix(w, "--sort="); ok {
		return list, true
	}
	return strings.CutPrefix(w, "k")
}

// columnList recognises -o LIST, -oLIST, o LIST, --format LIST and --format=LIST.
func columnList(w string) (list string, ok bool) {
	for _, form := range []string{"--format=", "-o", "-eo", "-Ao", "o", "axo", "-axo", "--format"} {
		rest, found := strings.CutPrefix(w, form)
		if !found || rest != "" && (form == "o" || form == "--format" || strings.HasSuffix(form, "xo")) && !strings.Contains(rest, ",") && rest != "pid" {
			continue
		}
		return rest, true
	}
	return "", false
}

// presetOf knows the usual combinations of flags; all processes of the container are shown whatever they say.
func presetOf(w string) ([]string, error) {
	flags := strings.TrimPrefix(w, "-")
	if strings.Trim(flags, "efFlaAxuwcHTj") != "" || flags == "" {
		return nil, errkind.New(errkind.Invalid, "ps: option %q is not supported: use -ef, aux, -o with a list of columns, --sort, --forest", w)
	}
	switch {
	case strings.Contains(flags, "u"):
		return []string{"uname", "pid", "%cpu", "%mem", "vsz", "rss", "tname", "stat", "start_time", "time", "args"}, nil
	case strings.ContainsAny(flags, "fF") && (strings.HasPrefix(w, "-") || !strings.ContainsAny(flags, "ax")): // "axf" is a forest
		return []string{"user", "pid", "ppid", "c", "stime", "tname", "time", "cmd"}, nil
	case strings.Contains(flags, "l"):
		return []string{"f", "s", "uid", "pid", "ppid", "c", "pri", "ni", "vsz", "wchan", "tname", "time", "ucmd"}, nil
	case strings.Contains(flags, "j"):
		return []string{"pid", "pgid", "sid", "tname", "time", "ucmd"}, nil
	case strings.HasPrefix(w, "-"):
		return nil, nil
	case strings.Contains(flags, "x"), strings.Contains(flags, "a"):
		return []string{"pid", "tname", "stat", "time", "args"}, nil
	}
	return nil, nil
}

// Table lists the processes of the cgroup at path in the form that ps(1) with args would give.
func Table(path string, args []string) (titles []string, rows [][]string, err error) {
	l, err := parse(args)
	if err != nil {
		return nil, nil, err
	}
	cg, err := cgroup.Open(path)
	if err != nil {
		return nil, nil, err
	}
	pids, err := cg.Procs()
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(pids)
	h := readHost()
	var procs []*proc
	for _, pid := range pids {
		if p, ok := readProc(pid); ok { // else it has ended meanwhile
			procs = append(procs, p)
		}
	}
	arrange(procs, l.by, h)
	if l.forest {
		procs = forest(procs)
	}
	for _, c := range l.columns {
		titles = append(titles, c.title)
	}
	rows = [][]string{}
	for _, p := range procs {
		row := make([]string, len(l.columns))
		for i, c := range l.columns {
			row[i] = c.value(p, h)
		}
		rows = append(rows, row)
	}
	return titles, rows, nil
}

// ticks a second, as the kernel shows times to programs on all of Linux's architectures that Pier runs on.
const ticks = 100

// maxCommand bounds what is read of a command line.
const maxCommand = 4096

type host struct {
	now, boot time.Time
	memory    int64 // KiB
	users     map[int]string
}

func readHost() *host {
	h := &host{now: time.Now(), users: map[int]string{}, memory: 1}
	var up float64
	if b, err := os.ReadFile("/proc/uptime"); err == nil {
		_, _ = fmt.Sscan(string(b), &up)
	}
	h.boot = h.now.Add(-time.Duration(up * float64(time.Second)))
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		_, _ = fmt.Sscanf(string(b), "MemTotal: %d kB", &h.memory)
	}
	return h
}

type proc struct {
	pid, uid, gid int
	comm          string
	fields        []string // of stat, from the third: the state
	branch        string   // the lines of a forest before the command
	command       string
}

func readProc(pid int) (*proc, bool) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	b, err := os.ReadFile(dir + "stat")
	if err != nil {
		return nil, false
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return nil, false
	}
	p := &proc{pid: pid, comm: string(b[open+1 : end]), fields: strings.Fields(string(b[end+1:]))}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, false
	}
	if d, ok := fsinfo.Details(info); ok {
		p.uid, p.gid = d.UID, d.GID
	}
	if f, err := os.Open(dir + "cmdline"); err == nil {
		buf := make([]byte, maxCommand)
		n, _ := f.Read(buf)
		_ = f.Close()
		p.command = string(bytes.ReplaceAll(bytes.TrimRight(buf[:n], "\x00"), []byte{0}, []byte{' '}))
	}
	return p, true
}

// field returns the n-th field of stat as proc(5) counts them.
func (p *proc) field(n int) string {
	if i := n - 3; i >= 0 && i < len(p.fields) {
		return p.fields[i]
	}
	return "-"
}

func (p *proc) number(n int) int64 {
	v, _ := strconv.ParseInt(p.field(n), 10, 64)
	return v
}

func (p *proc) parent() int { return int(p.number(4)) }

func (p *proc) uidText(*host) string { return strconv.Itoa(p.uid) }

func userName(p *proc, h *host) string {
	name, ok := h.users[p.uid]
	if !ok {
		name = strconv.Itoa(p.uid)
		if u, err := user.LookupId(name); err == nil {
			name = u.Username
		}
		h.users[p.uid] = name
	}
	return name
}

func (p *proc) cpuTime() time.Duration {
	return time.Duration(p.number(14)+p.number(15)) * time.Second / ticks
}

func (p *proc) started(h *host) time.Time {
	return h.boot.Add(time.Duration(p.number(22)) * time.Second / ticks)
}

func (p *proc) cpu(h *host) float64 {
	if life := h.now.Sub(p.started(h)); life > 0 {
		return 100 * float64(p.cpuTime()) / float64(life)
	}
	return 0
}

func (p *proc) cpuText(h *host) string { return fmt.Sprintf("%.1f", p.cpu(h)) }

func (p *proc) rssKiB() int64 { return p.number(24) * int64(os.Getpagesize()) >> 10 }

func (p *proc) memText(h *host) string {
	return fmt.Sprintf("%.1f", 100*float64(p.rssKiB())/float64(h.memory))
}

func (p *proc) vsz(*host) string { return strconv.FormatInt(p.number(23)>>10, 10) }
func (p *proc) rss(*host) string { return strconv.FormatInt(p.rssKiB(), 10) }

// tty names the controlling terminal; its device number has the minor split around the major.
func (p *proc) tty(*host) string {
	dev := p.number(7)
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	switch {
	case major >= 136 && major <= 143:
		return fmt.Sprintf("pts/%d", minor+(major-136)<<8)
	case major == 4:
		return fmt.Sprintf("tty%d", minor)
	}
	return "?"
}

func (p *proc) stat(*host) string {
	s := p.field(3)
	if nice := p.number(19); nice < 0 {
		s += "<"
	} else if nice > 0 {
		s += "N"
	}
	if p.number(6) == int64(p.pid) {
		s += "s"
	}
	if p.number(20) > 1 {
		s += "l"
	}
	if p.number(8) == p.number(5) && p.number(8) > 0 {
		s += "+"
	}
	return s
}

func (p *proc) stime(h *host) string {
	t := p.started(h)
	if h.now.Sub(t) < 24*time.Hour {
		return t.Format("15:04")
	}
	if t.Year() == h.now.Year() {
		return t.Format("Jan02")
	}
	return t.Format("2006")
}

func (p *proc) time(*host) string {
	s := int(p.cpuTime().Seconds())
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

func (p *proc) name(*host) string { return p.branch + p.comm }

func (p *proc) args(*host) string {
	if p.command == "" {
		return p.branch + "[" + p.comm + "]"
	}
	return p.branch + p.command
}

func elapsed(d time.Duration) string {
	s := int(d.Seconds())
	switch {
	case s >= 86400:
		return fmt.Sprintf("%d-%02d:%02d:%02d", s/86400, s/3600%24, s/60%60, s%60)
	case s >= 3600:
		return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}
