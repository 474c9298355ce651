package lifecycle

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the transcripts instead of comparing them")

// TestScripts plays testdata/*.txt. A line is a command; below it stands, indented, what it did. Commands:
//
//	container [policy=NAME[:MAX]] [rm]    a fresh container
//	start stop [keep] pause unpause due   inputs
//	kill [ends]   remove [force]
//	healthy   unhealthy
//	started   failed CODE WORDS   ended CODE [oom]   remove-failed WORDS
//	boot [alive] [code=N]
//	wait DURATION                         time passes
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			old, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, old)
			if *rewrite {
				if err := os.WriteFile(f, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(old, got) {
				t.Errorf("transcript differs; it is now:\n%s", got)
			}
		})
	}
}

func play(t *testing.T, script []byte) []byte {
	var (
		out   bytes.Buffer
		c     Container
		r     Rules
		now   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		lines = strings.Split(strings.TrimRight(string(script), "\n"), "\n")
	)
	for _, line := range lines {
		if strings.HasPrefix(line, "    ") {
			continue // the former transcript
		}
		fmt.Fprintln(&out, line)
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		switch words[0] {
		case "container":
			c, r = Container{}, rules(t, words[1:])
			continue
		case "wait":
			d, err := time.ParseDuration(words[1])
			if err != nil {
				t.Fatal(err)
			}
			now = now.Add(d)
			continue
		}
		in := input(t, words)
		in.At = now
		next, effects, err := Step(c, r, in, "web", "/web")
		if err != nil {
			fmt.Fprintf(&out, "    refused: %v\n", err)
			if next != c {
				t.Errorf("%s: refused, but the container changed", line)
			}
			continue
		}
		c = next
		fmt.Fprintf(&out, "    %s%s %v\n", c.State, marks(c), effects)
	}
	return out.Bytes()
}

func marks(c Container) string {
	var s string
	if c.Stopped {
		s += " stopped"
	}
	if c.ExitCode != 0 {
		s += fmt.Sprintf(" code=%d", c.ExitCode)
	}
	if c.Restarts > 0 {
		s += fmt.Sprintf(" restarts=%d", c.Restarts)
	}
	if c.Backoff > 0 {
		s += fmt.Sprintf(" backoff=%v", c.Backoff)
	}
	if c.Error != "" {
		s += fmt.Sprintf(" error=%q", c.Error)
	}
	return s
}

func rules(t *testing.T, words []string) Rules {
	var r Rules
	for _, w := range words {
		if w == "rm" {
			r.AutoRemove = true
			continue
		}
		name, max, _ := strings.Cut(strings.TrimPrefix(w, "policy="), ":")
		r.Policy.Name = name
		if max != "" {
			r.Policy.Max = number(t, max)
		}
	}
	return r
}

func input(t *testing.T, words []string) Input {
	kinds := map[string]Kind{"start": Start, "stop": Stop, "kill": Kill, "pause": Pause, "unpause": Unpause, "remove": Remove,
		"started": Started, "failed": StartFailed, "ended": Ended, "due": Due, "healthy": Healthy, "unhealthy": Unhealthy, "remove-failed": RemoveFailed, "boot": Boot}
	kind, ok := kinds[words[0]]
	if !ok {
		t.Fatalf("unknown command %q", words[0])
	}
	in := Input{Kind: kind}
	rest := words[1:]
	switch kind {
	case StartFailed:
		in.Code, in.Error = number(t, rest[0]), strings.Join(rest[1:], " ")
		rest = nil
	case RemoveFailed:
		in.Error, rest = strings.Join(rest, " "), nil
	case Ended:
		in.Code, rest = number(t, rest[0]), rest[1:]
	}
	for _, w := range rest {
		switch {
		case w == "ends":
			in.Ends = true
		case w == "force":
			in.Force = true
		case w == "keep":
			in.Keep = true
		case w == "oom":
			in.OOM = true
		case w == "alive":
			in.Alive = true
		case strings.HasPrefix(w, "code="):
			in.Known, in.Code = true, number(t, w[5:])
		default:
			t.Fatalf("unknown word %q", w)
		}
	}
	return in
}

func number(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEveryInputInEveryState shows that no pair panics, leaves the closed set, or changes what was refused.
func TestEveryInputInEveryState(t *testing.T) {
	policies := []Policy{{}, {Name: No}, {Name: Always}, {Name: UnlessStopped}, {Name: OnFailure, Max: 2}, {Name: OnUnhealthy, Max: 2}}
	for s := Created; s <= Dead; s++ {
		for k := Start; k <= Boot; k++ {
			for _, p := range policies {
				for bits := range 32 {
					c := Container{State: s, Stopped: bits&1 != 0, Ran: bits&2 != 0}
					r := Rules{Policy: p, AutoRemove: bits&4 != 0}
					in := Input{Kind: k, Code: bits & 1, Alive: bits&8 != 0, Force: bits&8 != 0, Ends: bits&8 != 0, Known: bits&16 != 0}
					next, _, err := Step(c, r, in, "x", "/x")
					if next.State > Dead || err != nil && next != c {
						t.Errorf("state %v input %d: became %+v, %v", s, k, next, err)
					}
				}
			}
		}
	}
}
