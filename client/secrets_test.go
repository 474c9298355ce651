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

// Secrets go to pierd alone: another server would start the container without them, and knows them then.
func TestSecretsForPierAlone(t *testing.T) {
	secret := docker.NewSecret{Secret: docker.Secret{Target: "t"}, Content: docker.SecretContent("word")}
	request := container.CreateRequest{Config: &container.Config{Image: "i"}, HostConfig: &container.HostConfig{AutoRemove: true}}
	for _, server := range []string{"Docker/29.7 (linux)", "Pier/1 (linux)"} {
		body := ""
		c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Server", server)
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
		if !strings.HasPrefix(server, "Pier/") {
			if !errkind.Is(err, errkind.Unsupported) || body != "" {
				t.Errorf("%s got %q, %v", server, body, err)
			}
			continue
		}
		if want := `{"Image":"i","HostConfig":{"AutoRemove":true,"PierSecrets":[{"Target":"t","Content":"d29yZA=="}]}}`; body != want || err != nil {
			t.Errorf("%s got %s, %v, want %s", server, body, err, want)
		}
	}
}
