package custody

import (
	"fmt"
	"testing"

	"pier/api/shim"
)

// What a request costs beyond the kernel's own work is BenchmarkRoundTrip; the other two do that work too.

func BenchmarkRoundTrip(t *testing.B) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	for t.Loop() {
		if _, err := b.Tasks(ctx(t)); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkExec(t *testing.B) {
	b := newBench(t)
	b.run("c", shim.Stdio{}, "sleep", "1000")
	for i := 0; t.Loop(); i++ {
		name := fmt.Sprint("e", i)
		b.exec("c", name, shim.Stdio{}, "true")
		b.exit(shim.TaskRef{ID: "c", Exec: name})
	}
}

func BenchmarkStart(t *testing.B) {
	b := newBench(t)
	for i := 0; t.Loop(); i++ {
		name := fmt.Sprint("c", i)
		b.run(name, shim.Stdio{}, "true")
		b.exit(shim.TaskRef{ID: name})
		t.StopTimer()
		if err := b.Delete(ctx(t), shim.TaskRef{ID: name}); err != nil {
			t.Fatal(err)
		}
		t.StartTimer()
	}
}
