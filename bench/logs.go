package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	logLine  = "2026-11-22T03:30:00Z INFO request served method=GET path=/api/v1/things/42 status=200 bytes=5123 ms=17\n"
	logLines = 1_000_000
)

// logRow has one container write a million lines to its log, as fast as the log takes them, with each engine's default
// driver and options.
func (l *lab) logRow() row {
	folder := filepath.Join(l.dir, "lines")
	write := func(name string, args ...string) error {
		if _, err := os.Stat(folder); err != nil {
			if err := os.Mkdir(folder, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(folder, "lines"), bytes.Repeat([]byte(logLine), logLines), 0o644); err != nil {
				return err
			}
		}
		out, err := exec.Command(name, append(args, "run", "-d", "--network", "none", "-v", folder+":/lines:ro", "bb", "cat", "/lines/lines")...).Output()
		if err != nil {
			return err
		}
		id := strings.TrimSpace(string(out))
		if err := run("", name, append(args, "wait", id)...); err != nil {
			return err
		}
		return run("", name, append(args, "rm", id)...)
	}
	return row{name: "log of 1,000,000 lines", promise: 3,
		ours: step{do: func() error { return write(filepath.Join(l.bin, "pier"), "-H", l.pierHost) }},
		peer: step{do: func() error { return write(l.dockerCLI, "-H", l.dockHost) }}}
}
