package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// onOne are requests that many send about one container at the same time, with the statuses that Docker has for them in
// some state or other.
var onOne = []struct {
	method, path string
	body         any
	statuses     []int
}{
	{"POST", "/start", nil, []int{204, 304, 409}},
	{"POST", "/stop?t=0", nil, []int{204, 304}},
	{"POST", "/restart?t=0", nil, []int{204, 409}}, // 409: started and paused by others in between
	{"POST", "/kill", nil, []int{204, 409}},
	{"POST", "/pause", nil, []int{204, 409}},
	{"POST", "/unpause", nil, []int{204, 409}},
	{"POST", "/rename?name=%s", nil, []int{204, 400}}, // 400: that is its name
	{"POST", "/update", object{"CpuShares": 256}, []int{200}},
	{"POST", "/exec", object{"Cmd": []string{"true"}}, []int{201, 409}},
	{"GET", "/json", nil, []int{200}},
	{"GET", "/top", nil, []int{200, 409}},
	{"GET", "/stats?stream=0&one-shot=1", nil, []int{200}},
	{"GET", "/logs?stdout=1", nil, []int{200}},
	{"GET", "/archive?path=/etc/passwd", nil, []int{200}},
	{"GET", "/changes", nil, []int{200}},
	{"DELETE", "", nil, []int{409, 204}}, // 204: it does not run
}

// TestOneContainer has eight clients ask for everything of one container at once. Every answer is one that Docker gives,
// what inspect shows is never a mixture, and what is removed is gone for all.
func TestOneContainer(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	body := sleeper()
	body["HostConfig"] = object{"NetworkMode": "none"}
	for round := range 4 {
		id := p.create(fmt.Sprintf("one-%d", round), body)
		gone := make(chan struct{})
		var once sync.Once
		var all sync.WaitGroup
		for w := range 8 {
			all.Go(func() {
				noise := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				for range 25 {
					r := onOne[noise.IntN(len(onOne))]
					if r.method == "DELETE" && noise.IntN(10) > 0 {
						continue // seldom, or nothing is left to ask
					}
					path := "/containers/" + id + r.path
					if r.path == "/rename?name=%s" {
						path = "/containers/" + id + fmt.Sprintf(r.path, fmt.Sprintf("one-%d-%d", round, noise.IntN(3)))
					}
					a := p.do(r.method, path, r.body)
					select {
					case <-gone:
						if a.status == 404 {
							return
						}
					default:
					}
					if r.method == "DELETE" && a.status == 204 {
						once.Do(func() { close(gone) })
						return
					}
					if a.status == 404 { // somebody's DELETE is answered a moment after
						select {
						case <-gone:
							return
						case <-time.After(time.Minute):
						}
					}
					if !slices.Contains(r.statuses, a.status) {
						t.Errorf("%s %s = %d %s, want one of %d", r.method, r.path, a.status, a.body, r.statuses)
					}
				}
			})
		}
		watch := make(chan struct{})
		go func() {
			defer close(watch)
			for {
				var c struct {
					State struct {
						Status                string
						Running, Paused, Dead bool
						Pid                   int
					}
				}
				a := p.do("GET", "/containers/"+id+"/json", nil)
				if a.status != 200 {
					return
				}
				if err := json.Unmarshal(a.body, &c); err != nil {
					t.Error(err)
					return
				}
				s := c.State
				runs := s.Status == "running" || s.Status == "paused"
				if s.Running != runs || s.Paused != (s.Status == "paused") || runs != (s.Pid > 0) || s.Dead {
					t.Errorf("inspect shows %+v", s)
				}
				time.Sleep(time.Millisecond)
			}
		}()
		all.Wait()
		if a := p.do("DELETE", "/containers/"+id+"?force=1", nil); a.status != 204 && a.status != 404 {
			t.Errorf("remove = %d %s", a.status, a.body)
		}
		<-watch
	}
	var left []object
	if p.want(200, "GET", "/containers/json?all=1", nil, &left); len(left) > 0 {
		t.Errorf("containers left: %v", left)
	}
}
