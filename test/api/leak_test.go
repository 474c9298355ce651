package api

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// TestClientsThatLeave opens every kind of stream on a silent container and goes away without a word. Neither
// goroutines nor descriptors of pierd grow.
func TestClientsThatLeave(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	body := sleeper()
	body["OpenStdin"] = true
	p.create("silent", body)
	p.want(204, "POST", "/containers/silent/start", nil, nil)
	type usage struct{ NFd, NGoroutines int }
	count := func() (u usage) {
		p.http.CloseIdleConnections()
		p.want(200, "GET", "/info", nil, &u)
		return u
	}
	open := func(path string, upgrade bool, body any) {
		_, conn, _ := p.hijack(path, upgrade, body)
		_ = conn.Close()
	}
	follow := func(method, path string) {
		conn, err := net.Dial("unix", p.Socket)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write([]byte(method + " " + path + " HTTP/1.1\r\nHost: pierd\r\nContent-Length: 0\r\n\r\n"))
		_, _ = conn.Read(make([]byte, 64)) // the head has come: the stream is open
		_ = conn.Close()
	}
	round := func() {
		open("/containers/silent/attach?stream=1&stdout=1&stderr=1", true, nil)
		open("/containers/silent/attach?stream=1&stdin=1&stdout=1", false, nil)
		follow("GET", "/containers/silent/logs?follow=1&stdout=1")
		follow("POST", "/containers/silent/wait")
		follow("GET", "/events")
		open("/containers/silent/exec?run=1", true, object{"Cmd": []string{"cat"}, "AttachStdin": true, "AttachStdout": true})
	}
	round()
	time.Sleep(time.Second)
	before := count()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				round()
			}
		})
	}
	all.Wait()
	p.Eventually("goroutines and descriptors to go", func() error {
		if after := count(); after.NFd > before.NFd+8 || after.NGoroutines > before.NGoroutines+8 {
			return fmt.Errorf("before %+v, after %+v", before, after)
		}
		return nil
	})
}
