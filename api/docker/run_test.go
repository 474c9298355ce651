package docker

import (
	"encoding/binary"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// What ParseRunFact makes of a frame is what package json makes of it.
func FuzzParseRunFact(f *testing.F) {
	for _, fact := range []RunFact{{}, {ID: strings.Repeat("0a", 32)}, {ID: "a", Warnings: []string{"w"}}, {ID: `<"}`}, {Ended: &RunEnd{}},
		{Ended: &RunEnd{ExitCode: 137}}, {Ended: &RunEnd{ExitCode: -1}}, {Failure: &RunFailure{Status: 404, Message: "no"}}} {
		frame := AppendRunFact([]byte("before"), fact)[len("before"):]
		if frame[0] != RunFactFrame || int(binary.BigEndian.Uint32(frame[4:])) != len(frame)-8 {
			f.Errorf("the frame of %+v is %q", fact, frame)
		}
		if got, err := ParseRunFact(frame[8:]); err != nil || !reflect.DeepEqual(got, fact) {
			f.Errorf("%+v became %+v, %v", fact, got, err)
		}
		f.Add(frame[8:])
	}
	for _, odd := range []string{"", "{", `{"ID":"x`, `{"ID":""}`, `{"ID":"A"}`, `{"Ended":{"ExitCode":}}`, `{"Ended":{"ExitCode":00}}`, `{"Ended":{"ExitCode":+1}}`,
		`{"Ended":{"ExitCode":-0}}`, `{"Ended":{"ExitCode":1e2}}`, `{"Ended":{"ExitCode":99999999999999999999}}`, `{"ID":"a"}}`, ` {"ID":"a"}`, `{"Ended":{"ExitCode":1}}}`} {
		f.Add([]byte(odd))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var want RunFact
		wantErr := json.Unmarshal(body, &want)
		got, err := ParseRunFact(body)
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q became %+v, %v, not %+v, %v", body, got, err, want, wantErr)
		}
	})
}
