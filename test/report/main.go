// Command report reads the stream of `go test -json` from standard input, shows a line for each package and the whole
// output of what failed, and closes with "N passed, N failed, N skipped". It exits with 1 if anything failed.
//
// Start reading at main.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type event struct {
	Action, Package, Test, Output, ImportPath, FailedBuild string
	Elapsed                                                float64
}

type key struct{ pkg, test string }

func main() {
	var passed, failed, skipped int
	output := map[key][]string{}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			fmt.Println(in.Text()) // not the test tool's: show it
			continue
		}
		k := key{e.Package, e.Test}
		switch e.Action {
		case "output":
			output[k] = append(output[k], e.Output)
		case "build-output":
			fmt.Print(e.Output)
		case "build-fail":
			failed++
		case "pass":
			if e.Test != "" {
				passed++
				delete(output, k)
			} else {
				fmt.Printf("ok    %-45s %6.1fs\n", e.Package, e.Elapsed)
			}
		case "skip":
			if e.Test != "" {
				skipped++
				fmt.Printf("skip  %s %s: %s\n", e.Package, e.Test, reason(output[k]))
			}
		case "fail":
			if e.Test != "" {
				failed++
			} else {
				fmt.Printf("FAIL  %-45s %6.1fs\n", e.Package, e.Elapsed)
				if e.FailedBuild == "" && len(output[k]) > 0 && failed == 0 {
					failed++ // the package ended outside of any test
				}
			}
			fmt.Print(strings.Join(output[k], ""))
		}
	}
	if err := in.Err(); err != nil {
		fmt.Println("reading the test results:", err)
		failed++
	}
	fmt.Printf("\n%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}

func reason(lines []string) string {
	for _, l := range lines {
		if !strings.HasPrefix(l, "=== ") && !strings.HasPrefix(strings.TrimSpace(l), "--- ") {
			return strings.TrimSpace(l)
		}
	}
	return ""
}
