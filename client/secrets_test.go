package client

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
	"pier/lib/errkind"
)

// Secrets go to a server alone that knows them: another one, a pierd of other additions too, would start the container
// without them.
func TestSecretsForWhoKnowsThem(t *testing.T) {
	secret := docker.NewSecret{Secret: docker.Secret{Target: "t"}, Content: docker.SecretContent("word")}
	request := container.CreateRequest{Config: &container.Config{Image: "i"}, HostConfig: &container.HostConfig{AutoRemove: true}}
	for server, additions := range map[string]string{"Docker/29.7 (linux)": "", "Pier/0 (linux)": "archive secrets-of-another-kind", "Pier/1 (linux)": docker.Additions} {
		body := ""
		c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Server", server)
			if strings.HasSuffix(r.URL.Path, "/_ping") && additions != "" {
				w.Header().Set(docker.AdditionsHeader, additions)
			}
			if strings.HasSuffix(r.URL.Path, "/containers/create") {
				data, _ := io.ReadAll(r.Body)
				body = string(data)
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, `{"Id":"abc"}`)
			}
		})
		_, err := c.Containers().Create(context.Background(), "n", "", request, secret)
		if _, again := c.Containers().Run(context.Background(), "n", "", request, AttachOptions{}, secret); (again == nil) != (err == nil) {
			t.Errorf("%s: create: %v, run: %v", server, err, again)
		}
		if additions != docker.Additions {
			if !errkind.Is(err, errkind.Unsupported) || !strings.Contains(err.Error(), server) || body != "" {
				t.Errorf("%s got %q, %v", server, body, err)
			}
			continue
		}
		if want := `{"Image":"i","HostConfig":{"AutoRemove":true,"PierSecrets":[{"Target":"t","Content":"d29yZA=="}]}}`; body != want || err != nil {
			t.Errorf("%s got %s, %v, want %s", server, body, err, want)
		}
	}
}

// Health checks of Pier's go to a server alone that knows them, for another one would never check.
func TestProbesForWhoKnowsThem(t *testing.T) {
	for additions, known := range map[string]bool{"": false, "archive publish secrets": false, docker.Additions: true} {
		asked, made := false, false
		c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/_ping") && additions != "" {
				w.Header().Set(docker.AdditionsHeader, additions)
			}
			asked = asked || strings.HasSuffix(r.URL.Path, "/_ping")
			if strings.HasSuffix(r.URL.Path, "/containers/create") {
				made = true
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, `{"Id":"abc"}`)
			}
		})
		for test, own := range map[string]bool{"TCP": true, "CMD": false} {
			asked, made = false, false
			r := container.CreateRequest{Config: &container.Config{Image: "i", Healthcheck: &container.HealthConfig{Test: []string{test, ":1"}}}}
			_, err := c.Containers().Create(context.Background(), "n", "", r)
			if want := known || !own; (err == nil) != want || made != want || asked && !own || err != nil && !errkind.Is(err, errkind.Unsupported) {
				t.Errorf("%s by a server of %q: %v, asked %v, made %v", test, additions, err, asked, made)
			}
		}
	}
}
