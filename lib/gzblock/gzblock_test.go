package gzblock

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
)

func file(t *testing.T, contents ...string) []byte {
	t.Helper()
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for i, c := range contents {
		if err := AppendBlock(&b, w, []byte(c), []byte{byte(i), 'n'}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestBlocks(t *testing.T) {
	contents := []string{"first\n", strings.Repeat("a line of a log\n", 10000), "", "last"}
	text := file(t, contents...)
	r, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(r); err != nil || string(all) != strings.Join(contents, "") {
		t.Fatalf("as plain gzip: %d bytes, %v", len(all), err)
	}
	blocks, err := Blocks(bytes.NewReader(text), int64(len(text)))
	if err != nil || len(blocks) != len(contents) {
		t.Fatalf("%d blocks, %v", len(blocks), err)
	}
	for i := len(blocks) - 1; i >= 0; i-- {
		got, err := blocks[i].Read(bytes.NewReader(text))
		if err != nil || string(got) != contents[i] || blocks[i].Length != len(contents[i]) || string(blocks[i].Note) != string([]byte{byte(i), 'n'}) {
			t.Errorf("block %d: %d bytes, note %q, %v", i, len(got), blocks[i].Note, err)
		}
	}
}

func TestDamage(t *testing.T) {
	text := file(t, "one", "two")
	blocks, _ := Blocks(bytes.NewReader(text), int64(len(text)))
	for i := range text {
		bad := bytes.Clone(text)
		bad[i] ^= 0xff
		got, err := Blocks(bytes.NewReader(bad), int64(len(bad)))
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Fatalf("byte %d: %v", i, err)
		}
		for k, b := range got { // what is listed is right or says that it is not
			if content, err := b.Read(bytes.NewReader(bad)); err == nil && string(content) != []string{"one", "two"}[k] {
				t.Errorf("byte %d: block %d became %q", i, k, content)
			}
		}
	}
	if got, err := Blocks(bytes.NewReader(text), int64(len(text))-1); len(got) != 1 || !errors.Is(err, ErrFormat) {
		t.Errorf("cut off: %d blocks of %d, %v", len(got), len(blocks), err)
	}
	var plain bytes.Buffer
	w := gzip.NewWriter(&plain)
	_, _ = w.Write([]byte("text"))
	_ = w.Close()
	if _, err := Blocks(bytes.NewReader(plain.Bytes()), int64(plain.Len())); !errors.Is(err, ErrFormat) {
		t.Errorf("plain gzip: %v", err)
	}
}
