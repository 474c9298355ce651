package docker

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
)

// A run is an addition of Pier: one request that makes a process, joins its streams, starts it and tells how it ended,
// where the published API takes four. POST /containers/create and POST /containers/{id}/exec become one when they carry
// the query parameter RunParameter=1 and ask for the upgrade that attach asks for too. Both take the arguments of attach
// (stdin, stdout, stderr); an exec has them in its body.
//
// The answer is an ordinary error, or 101 with RunMediaType: then input goes as it is, and output comes in the frames of
// attach, with a terminal too, among which RunFact frames carry a RunFact each as JSON. A server that does not know the
// parameter makes the process and answers 201, and the client goes on as with any other.
const (
	RunParameter = "run"
	RunMediaType = "application/vnd.pier.run-stream"
)

// RunFactFrame is the type of a frame that is no output.
const RunFactFrame = 0x80

// MaxRunFact bounds the content of a RunFact frame, in bytes.
const MaxRunFact = 1 << 20

// RunFact is one thing that happened in a run. The first one has ID; the last one Failure or Ended, and one of these
// comes unless the connection breaks.
type RunFact struct {
	ID       string      `json:",omitempty"` // it is made: the container's, or the exec's, identifier
	Warnings []string    `json:",omitempty"` // with ID
	Failure  *RunFailure `json:",omitempty"` // it could not start
	Ended    *RunEnd     `json:",omitempty"` // all output has come before
}

// RunFailure is why a process did not start: what the answer of start would have been.
type RunFailure struct {
	Status  int // HTTP status
	Message string
}

// RunEnd is how a process ended: what the answer of wait would have been.
type RunEnd struct {
	ExitCode int
}

// AppendRunFact appends the frame of f to b.
func AppendRunFact(b []byte, f RunFact) []byte {
	body, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	b = append(b, RunFactFrame, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...)
}

// ParseRunFact reads the content of a RunFact frame. The two facts of every run that goes well are read as AppendRunFact
// writes them, all others by package json: what that prepares for its first value of a type takes a short-lived client
// as long as all else it does with a run.
func ParseRunFact(body []byte) (f RunFact, err error) {
	if id, ok := between(body, `{"ID":"`, `"}`); ok && isID(id) {
		return RunFact{ID: id}, nil
	}
	if word, ok := between(body, `{"Ended":{"ExitCode":`, `}}`); ok {
		if code, err := strconv.Atoi(word); err == nil && strconv.Itoa(code) == word {
			return RunFact{Ended: &RunEnd{ExitCode: code}}, nil
		}
	}
	err = json.Unmarshal(body, &f)
	return f, err
}

func between(body []byte, before, after string) (string, bool) {
	rest, begins := strings.CutPrefix(string(body), before)
	middle, ends := strings.CutSuffix(rest, after)
	return middle, begins && ends
}

// isID reports whether s is made of hexadecimal digits, as the identifiers of Pier are.
func isID(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }) < 0
}
