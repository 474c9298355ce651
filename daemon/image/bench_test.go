package image

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// BenchmarkCreate is the end of every build: an image with one new layer gets a name that another image had.
func BenchmarkCreate(b *testing.B) {
	w := open(b)
	ctx := context.Background()
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		tar := layerTar(b, map[string]string{"f": fmt.Sprint(n)})
		l, err := w.layers.Apply(ctx, "", bytes.NewReader(tar), "")
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := w.Create(ctx, config(b, "amd64", "x", tar), []digest.Digest{l.ChainID}, "name"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGet is what every request about an image or container pays.
func BenchmarkGet(b *testing.B) {
	w := open(b)
	data, _ := dockerArchive(b)
	w.load(data)
	for b.Loop() {
		if _, err := w.Get("busybox"); err != nil {
			b.Fatal(err)
		}
	}
}
