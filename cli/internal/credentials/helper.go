package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"pier/lib/errkind"
)

// maxAnswer bounds what a helper may say, in bytes.
const maxAnswer = 1 << 20

// helper is a program that keeps credentials: it takes a verb as its argument, the registry on its standard input, and
// answers in JSON (the protocol of docker-credential-helpers).
type helper struct{ name, path string }

// findHelper looks docker-credential-NAME up in PATH.
func findHelper(name string) (helper, error) {
	if strings.ContainsAny(name, `/\`) {
		return helper{}, errkind.New(errkind.Invalid, "credential helper %q: config.json may name a program of PATH, not a path", name)
	}
	path, err := exec.LookPath("docker-credential-" + name)
	if err != nil {
		return helper{}, errkind.New(errkind.NotFound, "error getting credentials: docker-credential-%s, which config.json names, is not in PATH: install it, or remove credsStore and credHelpers", name)
	}
	return helper{name, path}, nil
}

// get asks for one registry; nil where the helper knows nothing of it.
func (h helper) get(ctx context.Context, host string) (*registry.AuthConfig, error) {
	out, err := h.run(ctx, "get", host)
	if err != nil || out == nil {
		return nil, err
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return nil, h.failed("get", err.Error())
	}
	auth := &registry.AuthConfig{ServerAddress: host}
	if answer.Username == "<token>" { // the secret is no password then
		auth.IdentityToken = answer.Secret
	} else {
		auth.Username, auth.Password = answer.Username, answer.Secret
	}
	return auth, nil
}

// list returns the registries that the helper knows, with the user of each.
func (h helper) list(ctx context.Context) (map[string]string, error) {
	out, err := h.run(ctx, "list", "")
	if err != nil || out == nil {
		return nil, err
	}
	var kept map[string]string
	if err := json.Unmarshal(out, &kept); err != nil {
		return nil, h.failed("list", err.Error())
	}
	return kept, nil
}

// run returns the answer, or nil where the helper has nothing. What it prints about an error is on its standard output.
func (h helper) run(ctx context.Context, verb, input string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, h.path, verb)
	cmd.Stdin = strings.NewReader(input)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, h.failed(verb, err.Error())
	}
	out, readErr := io.ReadAll(io.LimitReader(pipe, maxAnswer+1))
	if len(out) > maxAnswer {
		_ = cmd.Process.Kill()
	}
	err = cmd.Wait()
	said := strings.TrimSpace(string(out))
	switch {
	case len(out) > maxAnswer:
		return nil, h.failed(verb, "its answer is longer than 1 MiB")
	case err != nil && strings.Contains(said, "credentials not found"):
		return nil, nil
	case err != nil && said != "":
		return nil, h.failed(verb, err.Error()+": "+said)
	case err != nil:
		return nil, h.failed(verb, err.Error())
	case readErr != nil:
		return nil, h.failed(verb, readErr.Error())
	}
	return bytes.TrimSpace(out), nil
}

func (h helper) failed(verb, why string) error {
	return errkind.New(errkind.Unavailable, "error getting credentials: docker-credential-%s %s: %s", h.name, verb, why)
}
