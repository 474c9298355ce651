package fdsock

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"pier/kernel/pidfd"
	"pier/kernel/probe"
	"pier/lib/errkind"
)

// What a process has put away is there after its end, for each who looks, with how the process ended.
func TestDeposit(t *testing.T) {
	const depositor = "PIER_TEST_DEPOSITOR"
	if os.Getenv(depositor) != "" {
		if err := Put(os.NewFile(3, "deposit"), 'p'); err != nil {
			t.Fatal(err)
		}
		os.Exit(7)
	}
	keep, put, err := NewDeposit()
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := Put(put, 'o', r, w); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("word"); err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestDeposit$")
	cmd.Env, cmd.ExtraFiles = append(os.Environ(), depositor+"=1"), []*os.File{put}
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 7 {
		t.Fatal(err)
	}
	put.Close()
	for round := range 2 {
		copied, err := Copy(keep)
		if err != nil {
			t.Fatal(err)
		}
		all, err := Look(copied)
		copied.Close()
		if err != nil || len(all) != 2 || all[0].Kind != 'o' || len(all[0].Files) != 2 || all[1].Kind != 'p' || len(all[1].Files) != 0 {
			t.Fatalf("look %d: %+v, %v", round, all, err)
		}
		if round == 1 {
			text := make([]byte, 10)
			if n, err := all[0].Files[0].Read(text); err != nil || !bytes.Equal(text[:n], []byte("word")) {
				t.Errorf("the pipe holds %q, %v", text[:n], err)
			}
		}
		if sender := all[1].Sender; sender != nil {
			if status, err := pidfd.ExitInfo(sender); !errkind.Is(err, errkind.Unsupported) && (err != nil || status.Code != 7) {
				t.Errorf("the sender ended with %+v, %v", status, err)
			}
		} else if version, err := probe.Kernel(); err != nil || version.AtLeast(probe.Version{Major: 6, Minor: 17}) {
			t.Error("the sender is not known")
		}
		for i := range all {
			all[i].Close()
		}
	}
}
