// Command hello serves the page of examples/hello. With the argument "check" it asks its own server whether it is
// well, which is what the image's HEALTHCHECK runs: the image holds no shell and no curl.
package main

import (
	"fmt"
	"html/template"
	"net/http"
	"os"
	"time"
)

const address = ":8080"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 && args[0] == "check" {
		return check()
	}
	page, err := template.ParseFiles("/www/index.html")
	if err != nil {
		return err
	}
	started := time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		host, _ := os.Hostname()
		err := page.Execute(w, map[string]any{"Host": host, "Pid": os.Getpid(), "Uid": os.Getuid(), "Up": time.Since(started).Round(time.Second), "Visitor": r.RemoteAddr})
		if err != nil {
			fmt.Fprintln(os.Stderr, "hello:", err)
		}
	})
	fmt.Println("hello: serving on", address)
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}

func check() error {
	client := &http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get("http://127.0.0.1" + address + "/healthz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s", resp.Status)
	}
	return nil
}
