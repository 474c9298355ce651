package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// burstPromise is how many containers are started in a second when many are asked for at once.
const burstPromise = 200

// burst makes and starts n containers on the bridge network at the same time, over the API, first here and then by the
// peer, and removes them.
func (l *lab) burst(n int) (bool, error) {
	ours, err := startMany(l.pierHost, n)
	if err != nil {
		return false, err
	}
	l.removeNamed(l.pier, n)
	peers, err := startMany(l.dockHost, n)
	if err != nil {
		return false, fmt.Errorf("peer: %w", err)
	}
	l.removeNamed(l.docker, n)
	spread := float64(ours.at(99)) / float64(ours.at(50))
	ok := ours.rate() >= burstPromise && spread <= spreadPromise
	fmt.Printf("%-34s %10.0f/s %10.0f/s %12s %9.1f %9s%s\n", fmt.Sprintf("%d create+start at once", n), ours.rate(), peers.rate(), "-", ours.rate()/peers.rate(),
		fmt.Sprintf(">= %d/s", burstPromise), verdict(ours.rate() >= burstPromise))
	fmt.Printf("%-34s %12s %12s %12s %9.1f\n", "  each one, median", ms(ours.at(50)), ms(peers.at(50)), "-", float64(peers.at(50))/float64(ours.at(50)))
	fmt.Printf("%-34s %12s %12s %12s %9.1f %9s%s\n", "  each one, p99", ms(ours.at(99)), ms(peers.at(99)), "-", float64(peers.at(99))/float64(ours.at(99)),
		fmt.Sprintf("<= %.0f x", spreadPromise), verdict(spread <= spreadPromise))
	return ok, nil
}

func (l *lab) removeNamed(do func(...string) error, n int) {
	args := []string{"rm", "-f"}
	for i := range n {
		args = append(args, fmt.Sprintf("burst%d", i))
	}
	_ = do(args...) // close removes what is left
}

// burstResult is how long the whole took, and each part in ascending order.
type burstResult struct {
	whole time.Duration
	each  []time.Duration
}

func (b burstResult) rate() float64 { return float64(len(b.each)) / b.whole.Seconds() }

func (b burstResult) at(percent int) time.Duration { return b.each[(len(b.each)-1)*percent/100] }

func startMany(host string, n int) (burstResult, error) {
	client := apiClient(host)
	defer client.CloseIdleConnections()
	each, errs := make([]time.Duration, n), make([]error, n)
	var all sync.WaitGroup
	begin := time.Now()
	for i := range n {
		all.Go(func() {
			defer func() { each[i] = time.Since(begin) }()
			var made struct{ ID string }
			body := `{"Image":"bb","Cmd":["sleep","100000"]}`
			if errs[i] = post(client, fmt.Sprintf("/containers/create?name=burst%d", i), body, &made); errs[i] == nil {
				errs[i] = post(client, "/containers/"+made.ID+"/start", "", nil)
			}
		})
	}
	all.Wait()
	r := burstResult{whole: time.Since(begin), each: each}
	for _, err := range errs {
		if err != nil {
			return r, err
		}
	}
	slices.Sort(r.each)
	return r, nil
}

func post(client *http.Client, path, body string, out any) error {
	return ask(client, "POST", path, body, out)
}

// ask sends a request, body being JSON or nothing, and reads the whole answer; out may be nil.
func ask(client *http.Client, method, path, body string, out any) error {
	r, err := http.NewRequest(method, "http://engine/v1.41"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 400 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
