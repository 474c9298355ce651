package fdsock

import (
	"bytes"
	"io"
	"testing"
)

// One end of a pair is usable after it has travelled as a file; WriteNow takes what fits and does not wait for the rest.
func TestPair(t *testing.T) {
	ours, theirs, err := NewPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	other, err := FromFile(theirs)
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	all := bytes.Repeat([]byte("0123456789"), 1<<20) // more than a socket's buffer
	if ours.HungUp() || other.HungUp() {
		t.Error("one side has hung up")
	}
	n := WriteNow(ours.NetConn(), all)
	if n == 0 || n == len(all) {
		t.Fatalf("%d bytes were taken at once", n)
	}
	got := make([]byte, n)
	if _, err := io.ReadFull(other.NetConn(), got); err != nil || !bytes.Equal(got, all[:n]) {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	other.Close()
	if !ours.HungUp() || !other.HungUp() {
		t.Error("one side has not hung up")
	}
	if n := WriteNow(ours.NetConn(), all); n != 0 {
		t.Errorf("%d bytes were taken by nobody", n)
	}
	if _, err := ours.NetConn().Write(all); err == nil {
		t.Error("the next write did not tell")
	}
}
