package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "record.json")
	for _, content := range []string{"first", "second, longer", ""} {
		if err := Write(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != content {
			t.Fatalf("content = %q, %v, want %q", got, err, content)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Fatalf("mode = %v, %v", info.Mode(), err)
	}
	onlyEntry(t, dir)
}

func TestWriteFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	if err := os.Mkdir(path, 0o755); err != nil { // a folder cannot be replaced by a file
		t.Fatal(err)
	}
	if err := Write(path, []byte("x"), 0o600); err == nil {
		t.Fatal("Write over a folder succeeded")
	} else if strings.Contains(err.Error(), "tmp-") {
		t.Errorf("the error names the temporary file: %v", err)
	}
	onlyEntry(t, dir)
	if err := Write(filepath.Join(dir, "nosuch", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "tmp-") {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestCopyFailureReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "archive")
	if err := CopyVolatile(path, strings.NewReader("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	cut := io.MultiReader(strings.NewReader("ha"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := CopyVolatile(path, cut, 0o600); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a source that breaks off: %v", err)
	}
	if got, err := os.ReadFile(path); string(got) != "whole" || err != nil {
		t.Errorf("afterwards it holds %q, %v", got, err)
	}
	onlyEntry(t, dir)
}

func onlyEntry(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("folder holds %v, %v, want one entry", entries, err)
	}
}
