package server

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// pipeStream is a process whose output never comes until it is closed.
type pipeStream struct {
	*io.PipeReader
	input io.WriteCloser
}

func (p pipeStream) Write(b []byte) (int, error) { return p.input.Write(b) }
func (p pipeStream) CloseWrite() error           { return p.input.Close() }

// local is a connected pair of unix sockets: what the server holds, and the client's end.
func local(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

// A client that leaves must not hold a silent process's stream for ever, whether or not it ended its input before.
func TestPumpEndsWithTheClient(t *testing.T) {
	for _, half := range []bool{false, true} {
		server, client := local(t)
		out, silent := io.Pipe()
		defer silent.Close()
		in, input := io.Pipe()
		done := make(chan struct{})
		go func() {
			pump(server, server, pipeStream{out, input}, true)
			close(done)
		}()
		go func() {
			_, _ = client.Write([]byte("last words"))
			if half {
				_ = client.(closeWriter).CloseWrite()
			}
		}()
		got := make([]byte, 10)
		if _, err := io.ReadFull(in, got); err != nil || string(got) != "last words" {
			t.Fatalf("input = %q, %v", got, err)
		}
		if half { // the client still listens: the stream stays
			select {
			case <-done:
				t.Fatal("the stream ended with the input")
			case <-time.After(aliveEvery + aliveEvery/2):
			}
		}
		_ = client.Close()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("the stream outlives its client (half closed before: %v)", half)
		}
	}
}

// The end of the process ends the connection after its last output.
func TestPumpEndsWithTheProcess(t *testing.T) {
	server, client := local(t)
	out, output := io.Pipe()
	_, input := io.Pipe()
	go pump(server, server, pipeStream{out, input}, true)
	go func() {
		_, _ = output.Write([]byte("bye"))
		_ = output.Close()
	}()
	_ = client.SetDeadline(time.Now().Add(time.Minute))
	if got, err := io.ReadAll(client); err != nil || string(got) != "bye" {
		t.Errorf("output = %q, %v", got, err)
	}
}

// A client that reads the head of an answer through a buffer, and the stream without it, loses no output.
func TestOutputWaitsForTheHead(t *testing.T) {
	server, client := local(t)
	out, output := io.Pipe()
	_, input := io.Pipe()
	_, _ = server.Write([]byte("head"))
	go pump(server, server, pipeStream{out, input}, true)
	_, _ = output.Write([]byte("output")) // pump has it
	time.Sleep(10 * time.Millisecond)     // and would have sent it
	buffered := make([]byte, 100)
	if n, err := client.Read(buffered); err != nil || string(buffered[:n]) != "head" {
		t.Fatalf("with the head came %q, %v", buffered[:n], err)
	}
	_ = output.Close()
	if got, err := io.ReadAll(client); err != nil || string(got) != "output" {
		t.Errorf("output = %q, %v", got, err)
	}
}
