package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// input pipes size bytes of noise into a container and into an exec, by pier and by docker against pierd, and by docker
// against the peer. The promise is that every sum is right; the rates are docker's, against both daemons.
func (l *lab) input(size int64) (bool, error) {
	type side struct {
		name, cli, host string
	}
	sides := []side{{"pier", filepath.Join(l.bin, "pier"), l.pierHost}, {"docker, pierd", l.dockerCLI, l.pierHost}, {"docker, docker.io", l.dockerCLI, l.dockHost}}
	ok := true
	for _, how := range []string{"run", "exec"} {
		rates, whole := make([]float64, len(sides)), true
		for i, s := range sides {
			args := []string{"-H", s.host, "run", "--rm", "-i", "--network", "none", "bb"}
			if how == "exec" {
				id, err := exec.Command(s.cli, "-H", s.host, "run", "-d", "--network", "none", "bb", "sleep", "1000").Output()
				if err != nil {
					return false, err
				}
				name := strings.TrimSpace(string(id))
				defer func() { _ = run("", s.cli, "-H", s.host, "rm", "-f", name) }()
				args = []string{"-H", s.host, "exec", "-i", name}
			}
			sum := sha256.New()
			noise := rand.NewChaCha8([32]byte{byte(i)})
			cmd := exec.Command(s.cli, append(args, "/bin/busybox", "sha256sum")...)
			cmd.Stdin = io.TeeReader(io.LimitReader(noise, size), sum)
			begin := time.Now()
			out, err := cmd.CombinedOutput()
			if err != nil {
				return false, fmt.Errorf("%s of %s: %w: %s", how, s.name, err, tail(string(out)))
			}
			rates[i] = float64(size) / time.Since(begin).Seconds() / (1 << 20)
			if want := hex.EncodeToString(sum.Sum(nil)); !strings.HasPrefix(string(out), want) {
				fmt.Printf("stdin of %s by %s: the sum is %s, not %s\n", how, s.name, tail(string(out)), want)
				whole = false
			}
		}
		ok = ok && whole
		fmt.Printf("%-34s %12s %12s %12s %9.1f %9s%s   (pier %.0f MiB/s)\n", fmt.Sprintf("%s -i: %d MiB of input", how, size>>20),
			fmt.Sprintf("%.0f MiB/s", rates[1]), fmt.Sprintf("%.0f MiB/s", rates[2]), "-", rates[1]/rates[2], "whole", verdict(whole), rates[0])
	}
	return ok, nil
}
