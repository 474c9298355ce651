package progress

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/jsonstream"

	"pier/api/docker"
)

func vertices() []docker.BuildVertex {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	return []docker.BuildVertex{
		{Event: docker.VertexStarted, Vertex: "a", Name: "FROM busybox", Step: 1, Total: 3, Time: at(0)},
		{Event: docker.VertexCached, Vertex: "a", Time: at(1)},
		{Event: docker.VertexStarted, Vertex: "b", Name: "RUN make", Stage: "build", Step: 2, Total: 3, Time: at(10)},
		{Event: docker.VertexLog, Vertex: "b", Data: "one\ntw", Time: at(110)},
		{Event: docker.VertexStarted, Vertex: "c", Name: "COPY . .", Step: 3, Total: 3, Time: at(120)},
		{Event: docker.VertexLog, Vertex: "b", Data: "o\n10%\r20%\nrest", Time: at(210)},
		{Event: docker.VertexDone, Vertex: "b", Time: at(1510)},
		{Event: docker.VertexFailed, Vertex: "c", Error: "no such file", Time: at(1620)},
	}
}

func TestPlain(t *testing.T) {
	var out strings.Builder
	view := NewPlain(&out)
	for _, v := range vertices() {
		view.Vertex(v)
	}
	view.Close()
	want := `#1 [1/3] FROM busybox
#1 CACHED
#2 [build 2/3] RUN make
#2 0.100 one
#3 [3/3] COPY . .
#2 0.200 two
#2 0.200 20%
#2 rest
#2 DONE 1.5s
#3 ERROR: no such file
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestTree(t *testing.T) {
	var out strings.Builder
	now := time.Unix(1000, 0)
	tree := newTree(&out, false, func() time.Time { return now }, func() (int, int) { return 40, 24 })
	shown := func(final bool) string {
		out.Reset()
		tree.draw(final)
		return out.String()
	}
	all := vertices()
	for _, v := range all[:6] {
		tree.Vertex(v)
	}
	now = now.Add(500 * time.Millisecond)
	want := "\r\x1b[J[+] Building 0.5s (1/3)\n" +
		" => CACHED [1/3] FROM busybox       0.0s\n" +
		" => [build 2/3] RUN make            0.5s\n => => one\n => => two\n => => 20%\n" +
		" => [3/3] COPY . .                  0.4s\n"
	if got := shown(false); got != want {
		t.Errorf("running: got\n%q\nwant\n%q", got, want)
	}
	for _, v := range all[6:] {
		tree.Vertex(v)
	}
	want = "\x1b[7A\r\x1b[J[+] Building 0.5s (3/3) FINISHED\n" +
		" => CACHED [1/3] FROM busybox       0.0s\n" +
		" => [build 2/3] RUN make            1.5s\n" +
		" => ERROR [3/3] COPY . .            1.5s\n"
	if got := shown(true); got != want {
		t.Errorf("ended: got\n%q\nwant\n%q", got, want)
	}
	tree.colour = true
	if got := shown(true); !strings.Contains(got, "\x1b[31m => ERROR") {
		t.Errorf("no red in %q", got)
	}
}

func TestShow(t *testing.T) {
	stream := `{"status":"Pulling from x","id":"latest"}
{"status":"Downloading","progressDetail":{"current":1,"total":10},"id":"abc"}
{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"abc"}
{"status":"Pull complete","id":"abc"}
{"status":"Status: done"}
{"stream":"text\n"}
`
	var out strings.Builder
	if err := Show(strings.NewReader(stream), &out, nil); err != nil {
		t.Fatal(err)
	}
	if want := "latest: Pulling from x\nabc: Downloading\nabc: Pull complete\nStatus: done\ntext\n"; out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	err := Show(strings.NewReader(`{"errorDetail":{"code":3,"message":"bad"},"error":"bad"}`), &out, nil)
	var failure *jsonstream.Error
	if !errors.As(err, &failure) || failure.Code != 3 {
		t.Errorf("error of the stream: %v", err)
	}
	if err := Show(strings.NewReader(`{"status":`), &out, nil); err == nil {
		t.Error("half a message is no error")
	}
	if got := bar(&jsonstream.Progress{Current: 5e6, Total: 1e7}, 40); got != "[============>           ]      5MB/10MB" {
		t.Errorf("bar: %q", got)
	}
}

// What has left the screen stays as it was: a line that is not there cannot be rewritten.
func TestMoreLinesThanTheScreen(t *testing.T) {
	var out strings.Builder
	d := display{w: &out, terminal: true, row: map[string]int{}, last: map[string]string{}, size: func() (int, int) { return 40, 3 }}
	for _, id := range []string{"a", "b", "c", "d"} {
		d.show(&jsonstream.Message{ID: id, Status: "Waiting"})
	}
	out.Reset()
	for _, id := range []string{"a", "b", "c", "d"} {
		d.show(&jsonstream.Message{ID: id, Status: "Done"})
	}
	if want := "\x1b[2A\r\x1b[2Kc: Done\x1b[2B\r\x1b[1A\r\x1b[2Kd: Done\x1b[1B\r"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
