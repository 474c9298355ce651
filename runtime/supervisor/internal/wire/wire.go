// Package wire sends the supervisor's answers.
//
// Start reading at Send.
package wire

import (
	"encoding/json"
	"errors"
	"os"
	"time"

	"pier/api/shim"
	"pier/kernel/fdsock"
	"pier/lib/errkind"
	"pier/runtime/oci"
)

// limit bounds the time that an answer may wait for a peer that does not read.
const limit = 10 * time.Second

// Send sends r with files, which stay the caller's. After an error the connection is of no more use.
func Send(conn *fdsock.Conn, r shim.Response, files ...*os.File) error {
	payload, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_ = conn.NetConn().SetWriteDeadline(time.Now().Add(limit))
	return conn.Send(payload, files...)
}

// Error turns err into what the wire carries, with the call that failed where that was on the way to a process; nil stays
// nil.
func Error(err error) *shim.Error {
	if err == nil {
		return nil
	}
	var e *shim.Error
	if errors.As(err, &e) {
		return e
	}
	var start *oci.StartError
	if errors.As(err, &start) {
		return &shim.Error{Kind: errkind.Of(err), Message: err.Error(), Errno: int(start.Errno), Call: start.Call}
	}
	return &shim.Error{Kind: errkind.Of(err), Message: err.Error()}
}
