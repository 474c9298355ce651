package rules

import (
	"fmt"
	"slices"
	"strings"
)

// mayImport says for each first-level folder which others it may import, besides itself.
var mayImport = map[string][]string{
	"api":       {"lib"},
	"bench":     {"client", "api", "lib"},
	"cli":       {"client", "api", "lib"},
	"client":    {"api", "lib"},
	"cmd":       {"api", "cli", "client", "compose", "daemon", "dashboard", "kernel", "lib", "runtime"},
	"compose":   {"client", "api", "lib"},
	"daemon":    {"api", "dashboard", "kernel", "lib"},
	"dashboard": {},
	"examples":  {},
	"kernel":    {"lib"},
	"lib":       {},
	"runtime":   {"api/shim", "kernel", "lib"},
	"test":      {"client", "api", "lib"},
}

// floors are the rooms inside daemon/ and runtime/, by height: imports go strictly downwards, never sideways.
var floors = map[string]int{
	"daemon/store":       0,
	"daemon/registry":    1,
	"daemon/image":       2,
	"daemon/network":     2,
	"daemon/volume":      2,
	"daemon/logging":     2,
	"daemon/engine":      3,
	"daemon/build":       4,
	"daemon/server":      5,
	"daemon/cri":         5,
	"daemon/cluster":     5,
	"daemon":             6,
	"daemon/command":     7, // pierd's flags and configuration file
	"runtime/oci":        0,
	"runtime/logging":    0,
	"runtime/criu":       1,
	"runtime/supervisor": 2,
	"runtime/command":    2,
}

// kernelOnly are the packages with system calls, and who may have them.
var (
	kernelOnly    = []string{"golang.org/x/sys/unix", "syscall", "C"}
	kernelFolders = []string{"kernel", "runtime/oci"}
)

// room is the unit that floors and Pairs speak of: the first level, or the second where the first is only a shelf.
func room(folder string) string {
	parts := strings.SplitN(folder, "/", 3)
	switch parts[0] {
	case "api", "cmd", "daemon", "kernel", "lib", "runtime", "test":
		if len(parts) > 1 {
			return parts[0] + "/" + parts[1]
		}
	}
	return parts[0]
}

// Imports checks the table of folders, the floors of daemon/ and runtime/, and who may make system calls. Tests count,
// but may use packages of system calls to look at what the code has done.
func Imports(t *Tree) []Violation {
	var out []Violation
	for _, folder := range t.Folders {
		first, _, _ := strings.Cut(folder.Path, "/")
		allowed, known := mayImport[first]
		if !known && folder.Path != "." {
			out = append(out, Violation{t.at(folder.Files[0].AST.Package), "imports", "the folder " + first + "/ has no place in the architecture",
				"put the code into one of the existing folders, or add it to mayImport in test/rules/imports.go"})
			continue
		}
		for _, imp := range folder.imports() {
			reason, remedy := "", ""
			switch {
			case !imp.own:
				if contains(kernelOnly, imp.path) && !imp.file.Test && !belowAny(folder.Path, kernelFolders) {
					reason = imp.path + " is for " + strings.Join(kernelFolders, "/ and ") + "/ alone: system calls have one place, where they are reviewed"
					remedy = "call or add a function in kernel/"
				}
			case !below(imp.path, first) && !belowAny(imp.path, allowed):
				reason = fmt.Sprintf("%s/ may not import %s: the programs meet in api/ and layers only look down", first, imp.path)
				remedy = "move what both need into api/ or lib/, or pass it as a value"
			case first == "daemon" && below(imp.path, "daemon") || first == "runtime" && below(imp.path, "runtime"):
				reason = floorViolation(room(folder.Path), room(imp.path))
				remedy = "turn the call around (return a value or publish an event), or let a higher room join the two"
			}
			if reason != "" {
				out = append(out, Violation{t.at(imp.pos), "imports", reason, remedy})
			}
		}
	}
	return out
}

func floorViolation(from, to string) string {
	if from == to {
		return ""
	}
	a, knownA := floors[from]
	b, knownB := floors[to]
	switch {
	case !knownA:
		return from + " is no room of the architecture (floors in test/rules/imports.go)"
	case !knownB:
		return to + " is no room of the architecture (floors in test/rules/imports.go)"
	case a <= b:
		return fmt.Sprintf("%s (floor %d) may not import %s (floor %d): imports go strictly downwards", from, a, to, b)
	}
	return ""
}

func contains(list []string, s string) bool {
	for _, item := range list {
		if item == s {
			return true
		}
	}
	return false
}

// Pairs finds two rooms that import each other through different packages, which the Go compiler allows.
func Pairs(t *Tree) []Violation {
	first := make(map[[2]string]string) // (from, to) -> position
	var out []Violation
	for _, folder := range t.Folders {
		for _, imp := range folder.imports() {
			from, to := room(folder.Path), room(imp.path)
			if !imp.own || imp.file.Test || from == to {
				continue
			}
			if first[[2]string{from, to}] == "" {
				first[[2]string{from, to}] = t.at(imp.pos)
			}
			if back := first[[2]string{to, from}]; back != "" {
				out = append(out, Violation{t.at(imp.pos), "pairs",
					fmt.Sprintf("%s and %s import each other (the other way at %s): neither can be read or changed alone", from, to, back),
					"let one of them return a value or an event instead"})
			}
		}
	}
	return out
}

// MaxFanOut is how many packages of this module a package may import.
const MaxFanOut = 15

// joiners may import more, each for a reason.
var joiners = map[string]string{
	"daemon": "builds, starts and stops all rooms; the only package that knows them all",
}

// FanOut counts the packages of this module that a package imports, tests apart. Its own internal packages are parts of
// it, split off because it was long, and do not count.
func FanOut(t *Tree) []Violation {
	var out []Violation
	for _, folder := range t.Folders {
		seen := make(map[string]bool)
		if joiners[folder.Path] != "" {
			continue
		}
		for _, imp := range folder.imports() {
			part := strings.HasPrefix(imp.path, folder.Path+"/internal/")
			if imp.own && !imp.file.Test && imp.path != folder.Path && !part && !seen[imp.path] {
				if seen[imp.path] = true; len(seen) == MaxFanOut+1 {
					out = append(out, Violation{t.at(imp.pos), "fan-out",
						fmt.Sprintf("%s imports more than %d packages of this module: nobody can hold that in mind", folder.Path, MaxFanOut),
						"split the package, or let a package below join some of them"})
				}
			}
		}
	}
	return out
}

// ban keeps a dependency out of a program.
type ban struct{ dependency, reason string }

var heavy = []ban{
	{"google.golang.org/grpc", "costs 2 ms of every start"},
	{"google.golang.org/protobuf", "registers types in init functions of every start"},
	{"github.com/moby/buildkit", "costs 4 ms of every start and 15 MB"},
	{"github.com/moby/swarmkit", "costs 20 ms of every start and 22 MB of memory"},
	{"github.com/compose-spec", "belongs to pier-compose"},
	{"github.com/prometheus", "costs start time; metrics are the daemon's"},
}

var engineParts = []ban{
	{"go.etcd.io/bbolt", "records are the daemon's"},
	{"github.com/vishvananda/netlink", "networks are the daemon's"},
	{"github.com/google/nftables", "networks are the daemon's"},
	{"oras.land", "registries are the daemon's"},
	{Module + "/daemon", "pierd alone links the daemon"},
}

// bans by program. The test asks the go command for all dependencies, indirect ones included.
var bans = map[string][]ban{
	"cmd/pier": append(append([]ban{
		{"go.opentelemetry.io", "costs start time and 2 MB; it comes with github.com/moby/moby/client, so use client/ and api/types"},
		{"net/http", "costs 0.4 ms of every start, with TLS; client/internal/http1 is what is needed of it"},
		{"crypto/tls", "costs 0.3 ms of every start; pier-tls links it"},
		{Module + "/runtime", "pier-runtime alone links the runtime"},
		{Module + "/kernel", "a client makes no system calls of its own"},
	}, heavy...), engineParts...),
	"cmd/pier-runtime": append(append([]ban{
		{"go.opentelemetry.io", "the supervisor stays small: it is in memory for as long as a container runs"},
		{"net/http", "the supervisor dials no one and serves one socket; HTTP adds 4 MB"},
		{Module + "/cli", "pier alone links the commands"},
		{Module + "/client", "pier alone links the client"},
	}, heavy...), engineParts...),
	"cmd/pier-tls": append([]ban{
		{"net/http", "it carries bytes; HTTP is pier's"},
		{Module + "/cli", "pier alone links the commands"},
		{Module + "/runtime", "pier-runtime alone links the runtime"},
		{Module + "/kernel", "a client makes no system calls of its own"},
	}, slices.Concat(heavy, engineParts)...),
	"cmd/pierd": {
		{"github.com/moby/swarmkit", "runs as pier-swarm when it is needed: 20 ms of start and 22 MB"},
		{"github.com/compose-spec", "belongs to pier-compose"},
		{Module + "/runtime", "the two programs meet in api/shim"},
		{Module + "/cli", "pier alone links the commands"},
	},
}

// Dependencies checks one program ("cmd/pier") against its bans; deps are import paths.
func Dependencies(program string, deps []string) []Violation {
	var out []Violation
	for _, b := range bans[program] {
		for _, dep := range deps {
			if below(dep, b.dependency) {
				out = append(out, Violation{program + "/main.go:1", "dependencies", program + " links " + dep + ": " + b.reason,
					"find who imports it (go mod why, go list -deps) and cut the way; or change the ban in test/rules/imports.go with a reason"})
				break
			}
		}
	}
	return out
}
