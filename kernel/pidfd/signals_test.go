package pidfd

import "testing"

func TestDeaf(t *testing.T) {
	for _, c := range []struct {
		name, status string
		want         bool
	}{
		{"nobody listens", "NSpid:\t77\t1\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n", true},
		{"ignored", "NSpid:\t77\t1\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000004000\nSigCgt:\t0000000000000000\n", true},
		{"handled", "NSpid:\t77\t1\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000004000\n", false},
		{"blocked, for signalfd", "NSpid:\t77\t1\nSigBlk:\t0000000000004000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n", false},
		{"dies of it", "NSpid:\t77\t5\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n", false},
		{"ignored by another", "NSpid:\t77\t5\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000004000\nSigCgt:\t0000000000000000\n", true},
		{"on the host", "NSpid:\t77\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\n", false},
		{"cut short", "NSpid:\t77\t1\n", false},
	} {
		if got, err := deaf([]byte(c.status), 15); err != nil || got != c.want {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
}
