package criu

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"pier/lib/errkind"
)

const (
	// logTail is how much of the end of a log is searched for errors, in bytes.
	logTail = 256 << 10
	// quoted is how many of its last errors are told.
	quoted = 3
)

// explain makes an error of a failed work, with criu's own last words and the place of its log.
func explain(ctx context.Context, program, what, log string, err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	if ours := f.err; ours != nil && errkind.Of(ours) != errkind.Internal { // it was not criu who refused
		return errkind.New(errkind.Of(ours), "%s: %w", what, ours)
	}
	words := f.Error()
	if lines := lastErrors(log); len(lines) > 0 {
		words = strings.Join(lines, "; ")
	}
	place := ""
	if _, err := os.Stat(log); err == nil {
		place = " (its log is " + log + ")"
	}
	if found := check(context.WithoutCancel(ctx), program); found != "" {
		return errkind.New(errkind.Unsupported, "%s: criu failed: %s%s; %s", what, words, place, found)
	}
	return errkind.New(errkind.Internal, "%s: criu failed: %s%s", what, words, place)
}

// hollow are errors that say no more than that there was one, and those that stop nothing, by their beginnings.
var hollow = []string{"Dumping FAILED", "Pre-dumping FAILED", "Restoring FAILED", "cg: cgroupd: recv req error", "tun: Unable to create tun",
	"rlimit: Can't setup RLIMIT_NOFILE for self"}

// lastErrors are the last lines of a log that tell an error.
func lastErrors(log string) (lines []string) {
	f, err := os.Open(log)
	if err != nil {
		return nil
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-logTail), io.SeekStart)
	}
	text, err := io.ReadAll(io.LimitReader(f, logTail))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if _, rest, ok := strings.Cut(line, "Error ("); ok { // "(00.012345)     12: Error (criu/file.c:99): words"
			_, words, _ := strings.Cut(rest, "): ")
			words = strings.TrimSpace(words)
			if words != "" && !slices.ContainsFunc(hollow, func(h string) bool { return strings.HasPrefix(words, h) }) {
				lines = append(lines, words)
			}
		}
	}
	return lines[max(0, len(lines)-quoted):]
}
