package api

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
)

// resources measures a container and changes its limits.
func (p *pierd) resources() {
	body := sleeper()
	body["HostConfig"] = object{"NetworkMode": "bridge", "Memory": 64 << 20, "PidsLimit": 50}
	id := p.create("meter", body)
	sample := func(query string) (s container.StatsResponse) {
		p.want(200, "GET", "/containers/meter/stats?"+query, nil, &s)
		return s
	}
	s := sample("stream=0")
	if s.ID != id || s.Name != "/meter" || s.OSType != "linux" || !s.Read.IsZero() {
		p.t.Errorf("of a container that does not run = %+v", s)
	}
	p.want(204, "POST", "/containers/meter/start", nil, nil)
	s = sample("stream=0&one-shot=1")
	if s.CPUStats.CPUUsage.TotalUsage == 0 || s.CPUStats.SystemUsage == 0 || s.CPUStats.OnlineCPUs == 0 || s.PreCPUStats.SystemUsage != 0 ||
		s.MemoryStats.Usage == 0 || s.MemoryStats.Limit != 64<<20 || len(s.MemoryStats.Stats) == 0 || s.PidsStats.Current != 1 ||
		s.PidsStats.Limit != 50 || len(s.Networks) != 1 {
		p.t.Errorf("one sample = %+v", s)
	}
	if _, ok := s.Networks["eth0"]; !ok {
		p.t.Errorf("networks = %v", s.Networks)
	}
	began := time.Now()
	s = sample("stream=false")
	if !s.PreRead.Before(s.Read) || s.PreRead.Before(began) || s.PreCPUStats.SystemUsage == 0 || s.PreCPUStats.SystemUsage > s.CPUStats.SystemUsage {
		p.t.Errorf("a pair = %v after %v", s.Read, s.PreRead)
	}
	p.want(400, "GET", "/containers/meter/stats?stream=1&one-shot=1", nil, nil)
	p.want(404, "GET", "/containers/none/stats", nil, nil)

	p.want(200, "POST", "/containers/meter/update", object{"Memory": 32 << 20, "MemorySwap": -1, "PidsLimit": 20, "CpuShares": 512,
		"RestartPolicy": object{"Name": "on-failure", "MaximumRetryCount": 2}}, nil)
	s = sample("stream=0&one-shot=1")
	if s.MemoryStats.Limit != 32<<20 || s.PidsStats.Limit != 20 {
		p.t.Errorf("after the update: memory %d, processes %d", s.MemoryStats.Limit, s.PidsStats.Limit)
	}
	p.want(200, "POST", "/containers/meter/update", object{"PidsLimit": -1}, nil)
	s = sample("stream=0&one-shot=1")
	if s.PidsStats.Limit != 0 {
		p.t.Errorf("no limit of processes = %d", s.PidsStats.Limit)
	}
	p.want(200, "POST", "/containers/meter/update", object{"NanoCpus": 500000000}, nil)
	for _, wrong := range []struct {
		status int
		body   object
	}{
		{400, object{"Memory": 1024}}, {409, object{"CpuQuota": 20000}}, {409, object{"CpuPeriod": 20000}}, {400, object{"BlkioWeight": 5}},
		{400, object{"RestartPolicy": object{"Name": "sometimes"}}}, {501, object{"Devices": []object{{"PathOnHost": "/dev/null"}}}},
		{501, object{"CgroupParent": "/elsewhere"}}, {400, object{"CpusetCpus": "900"}}, {400, object{"Memory": "much"}},
	} {
		p.want(wrong.status, "POST", "/containers/meter/update", wrong.body, nil)
	}
	p.want(404, "POST", "/containers/none/update", object{"Memory": 32 << 20}, nil)

	// A stream goes on over a stop and ends with the container.
	response := p.send("GET", "/containers/meter/stats", nil)
	defer response.Body.Close()
	samples := json.NewDecoder(response.Body)
	next := func() (s container.StatsResponse, err error) { err = samples.Decode(&s); return s, err }
	if s, err := next(); err != nil || s.Read.IsZero() {
		p.t.Errorf("first of the stream = %v, %v", s.Read, err)
	}
	if s, err := next(); err != nil || s.PreRead.IsZero() {
		p.t.Errorf("second of the stream = %v, %v", s.PreRead, err)
	}
	p.want(204, "POST", "/containers/meter/stop?t=0", nil, nil)
	if s, err := next(); err != nil || s.ID != id {
		p.t.Errorf("after the stop = %v, %v", s.ID, err)
	}
	p.want(204, "DELETE", "/containers/meter", nil, nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := next(); err != nil {
				return
			}
		}
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		p.t.Error("the stream does not end with the container")
	}
}

// TestManyWatchers shows that watchers share their readings and leave nothing behind.
func TestManyWatchers(t *testing.T) {
	p := startPierd(t)
	p.importBusybox()
	p.create("meter", sleeper())
	p.want(204, "POST", "/containers/meter/start", nil, nil)
	done := make(chan error, 50)
	for range cap(done) {
		go func() {
			response := p.send("GET", "/containers/meter/stats", nil)
			defer response.Body.Close()
			samples, s := json.NewDecoder(response.Body), container.StatsResponse{}
			err := samples.Decode(&s)
			if err == nil {
				err = samples.Decode(&s)
			}
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	p.want(204, "DELETE", "/containers/meter?force=1", nil, nil)
}
