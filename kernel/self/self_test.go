package self

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

func TestMain(m *testing.M) {
	switch os.Getenv("PIER_TEST_SELF") {
	case "first": // becomes a new program that finds the file
		f, err := Memfd("state", []byte("handed over"))
		if err != nil {
			panic(err)
		}
		n, err := Keep(f, true)
		if err != nil {
			panic(err)
		}
		panic(Exec("/proc/self/exe", []string{"second", strconv.Itoa(n), strconv.Itoa(os.Getpid())}, []string{"PIER_TEST_SELF=second"}))
	case "second":
		n, _ := strconv.Atoi(os.Args[1])
		text, err := io.ReadAll(os.NewFile(uintptr(n), "state"))
		fmt.Print(string(text), err, os.Args[2] == strconv.Itoa(os.Getpid()))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestExecKeepsFiles(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"PIER_TEST_SELF=first"}
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "handed over<nil> true" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestExecFails(t *testing.T) {
	if err := Exec("/no/such/program", nil, nil); !os.IsNotExist(err) {
		t.Errorf("Exec: %v", err)
	}
}
