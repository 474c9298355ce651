package live

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"pier/cli/internal/row"
)

func TestFit(t *testing.T) {
	columns := []Column{{Title: "NAME", Cut: true}, {Title: "CPU", Right: true}, {Title: "MEM", Keep: 2}, {Title: "NET", Keep: 1}}
	rows := [][]Cell{{{Text: "a-long-name"}, {"1.5", "31"}, {Text: "12MiB"}, {Text: "1kB"}}, {{Text: "\x1b[2Jx"}, {Text: "20"}, {Text: "1B"}, {Text: "2kB"}}}
	for width, want := range map[int]string{
		40: "NAME         CPU  MEM    NET\na-long-name  \x1b[31m1.5\x1b[0m  12MiB  1kB\n?[2Jx         20  1B     2kB",
		25: "NAME         CPU  MEM\na-long-name  \x1b[31m1.5\x1b[0m  12MiB\n?[2Jx         20  1B",
		14: "NAME       CPU\na-long-n…  \x1b[31m1.5\x1b[0m\n?[2Jx       20",
		6:  "NAME\na-lon…\n?[2Jx",
	} {
		if got := strings.Join(Fit(columns, rows, width), "\n"); got != want {
			t.Errorf("width %d: got\n%q\nwant\n%q", width, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	for typed, want := range map[string][]string{"q": {"q"}, "\x1b[A\x1bOBx": {"up", "down", "x"}, "\x1b": {"escape"}, "\r": {"enter"}, "\x03": {"ctrl-c"},
		"\x1b[5~c": {"c"}, "\x1b[1;5Aq": {"q"}, "\xc3\xa9": nil} {
		if got := split(typed); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

func TestOrder(t *testing.T) {
	b := NewBoard(context.Background(), nil, false)
	for i, name := range []string{"b", "c", "a"} {
		b.order = append(b.order, name)
		b.rows[name] = &figures{Usage: row.Usage{Name: name, CPU: float64(i), Memory: float64(-i)}}
	}
	for by, want := range map[string]string{"": "bca", "name": "abc", "-name": "cba", "cpu": "acb", "mem": "bca"} {
		o, err := ParseOrder(by)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, f := range b.figures(o) {
			got += f.Name
		}
		if got != want {
			t.Errorf("by %q: %s, want %s", by, got, want)
		}
	}
	if _, err := ParseOrder("size"); err == nil {
		t.Error("an order that does not exist")
	}
}

func TestRates(t *testing.T) {
	b := NewBoard(context.Background(), nil, false)
	sample := func(second int64, rx uint64) container.StatsResponse {
		return container.StatsResponse{Read: time.Unix(second, 0), Networks: map[string]container.NetworkStats{"eth0": {RxBytes: rx}}}
	}
	b.order = []string{"x"}
	for _, step := range []struct {
		second int64
		rx     uint64
		want   float64
	}{{10, 100, 0}, {12, 300, 100}, {13, 50, 0}, {13, 60, 0}} { // the third was started anew, the last is no later
		b.take("x", sample(step.second, step.rx))
		if got := b.figures(Order{})[0].rx; got != step.want {
			t.Errorf("second %d: %v bytes a second, want %v", step.second, got, step.want)
		}
	}
}

// The picture of a list longer than the window follows the cursor.
func TestTopScrolls(t *testing.T) {
	top := &Top{board: NewBoard(context.Background(), nil, false), now: func() time.Time { return time.Unix(0, 0) }, order: Order{By: "name"}, summaries: map[string]container.Summary{}}
	for _, name := range strings.Split("abcdefghij", "") {
		top.board.order = append(top.board.order, name)
		top.board.rows[name] = &figures{Usage: row.Usage{Ref: name, Name: name}}
		top.summaries[name] = container.Summary{ID: name}
	}
	shown := func() string {
		lines := top.Lines(40, 8)
		if len(lines) != 8 {
			t.Fatalf("%d lines for a window of 8", len(lines))
		}
		names := ""
		for _, l := range lines[3:7] {
			cursor, name := "", strings.TrimPrefix(l, "\x1b[7m")
			if name != l {
				cursor = ">"
			}
			names += cursor + name[:1]
		}
		return names
	}
	for _, step := range []struct{ keys, want string }{{"", ">abcd"}, {"jjj", "abc>d"}, {"j", "bcd>e"}, {"jjjjjjjj", "ghi>j"}, {"kkkk", ">fghi"}, {"r", ">fedc"}} {
		for _, k := range strings.Split(step.keys, "") {
			top.Key(k)
		}
		if got := shown(); got != step.want {
			t.Errorf("after %q: %s, want %s", step.keys, got, step.want)
		}
	}
	if !top.Key("q") {
		t.Error("q does not end it")
	}
}

type still struct{}

func (still) Lines(int, int) []string { return []string{"picture"} }
func (still) Key(string) bool         { return false }

// However a show ends, the screen is given back.
func TestShowGivesTheScreenBack(t *testing.T) {
	gone := errors.New("gone")
	for name, test := range map[string]struct {
		end  func(over chan error, cancel func())
		want error
	}{
		"context": {func(_ chan error, cancel func()) { cancel() }, nil},
		"error":   {func(over chan error, _ func()) { over <- gone }, gone},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error, 1)
		test.end(over, cancel)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := Show(ctx, strings.NewReader(""), w, still{}, over); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		_ = w.Close()
		if text, _ := io.ReadAll(r); !strings.HasPrefix(string(text), enter) || !strings.HasSuffix(string(text), leave) || !strings.Contains(string(text), "picture") {
			t.Errorf("%s: %q", name, text)
		}
		_ = r.Close()
	}
}
