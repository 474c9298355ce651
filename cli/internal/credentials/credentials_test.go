package credentials

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// store writes a config.json, and a helper "fake" that knows two registries.
func store(t *testing.T, config string) *Store {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", config, 0o600)
	write("docker-credential-fake", `#!/bin/sh
read -r host
case $1:$host in
get:kept.example) echo '{"ServerURL":"kept.example","Username":"me","Secret":"s3cret"}' ;;
get:token.example) echo '{"Username":"<token>","Secret":"t0ken"}' ;;
get:odd.example) echo 'no JSON' ;;
get:locked.example) echo 'the store is locked'; exit 1 ;;
get:long.example) head -c 2000000 /dev/zero ;;
list:) echo '{"kept.example":"me","token.example":"<token>"}' ;;
*) echo 'credentials not found in native keychain'; exit 1 ;;
esac
`, 0o755)
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	return Open(func(name string) string { return map[string]string{"DOCKER_CONFIG": dir}[name] })
}

// me:pw
const auths = `"auths":{"plain.example:5000":{"auth":"bWU6cHc="},"https://old.example/v1/":{"auth":"bWU6cHc="},"kept.example":{"auth":"bWU6cHc="},
	"bad.example":{"auth":"bWU="},"https://index.docker.io/v1/":{"identitytoken":"it"}}`

func TestFor(t *testing.T) {
	for _, test := range []struct{ config, host, want string }{
		{`{` + auths + `}`, "plain.example:5000", "me pw "},
		{`{` + auths + `}`, "old.example", "me pw "},
		{`{` + auths + `}`, Hub, "  it"},
		{`{` + auths + `}`, "plain.example", "none"},
		{`{` + auths + `}`, "bad.example", "error"},
		{`{`, "plain.example", "error"},
		{`{` + auths + `,"credsStore":"fake"}`, "kept.example", "me s3cret "},
		{`{` + auths + `,"credsStore":"fake"}`, "token.example", "  t0ken"},
		{`{` + auths + `,"credsStore":"fake"}`, "other.example", "none"},
		{`{` + auths + `,"credHelpers":{"kept.example":"fake"}}`, "kept.example", "me s3cret "},
		{`{` + auths + `,"credHelpers":{"kept.example":"fake"}}`, "plain.example:5000", "me pw "},
		{`{"credsStore":"fake"}`, "odd.example", "error"},
		{`{"credsStore":"fake"}`, "locked.example", "the store is locked"},
		{`{"credsStore":"fake"}`, "long.example", "longer than 1 MiB"},
		// A helper that is missing is no reason to send what lies in the file (CVE-2021-41092).
		{`{` + auths + `,"credsStore":"absent"}`, "plain.example:5000", "not in PATH"},
		{`{` + auths + `,"credHelpers":{"kept.example":"../fake"}}`, "kept.example", "not a path"},
	} {
		auth, err := store(t, test.config).For(t.Context(), test.host)
		got := "none"
		switch {
		case err != nil && strings.Contains(err.Error(), test.want):
			got = test.want
		case err != nil:
			got = "error"
		case auth != nil:
			got = auth.Username + " " + auth.Password + " " + auth.IdentityToken
		}
		if got != test.want {
			t.Errorf("%s of %s: %q (%v), want %q", test.host, test.config, got, err, test.want)
		}
	}
}

func TestAll(t *testing.T) {
	all, err := store(t, `{"auths":{"a.example":{"auth":"bWU6cHc="}},"credHelpers":{"kept.example":"fake","gone.example":"fake"}}`).All(t.Context())
	if err != nil || len(all) != 2 || all["a.example"].Password != "pw" || all["kept.example"].Password != "s3cret" {
		t.Errorf("%v, %v", all, err)
	}
	all, err = store(t, `{"auths":{"a.example":{}},"credsStore":"fake"}`).All(t.Context())
	if err != nil || len(all) != 2 || all["token.example"].IdentityToken != "t0ken" {
		t.Errorf("%v, %v", all, err)
	}
	if all, err := Open(func(string) string { return "/nosuch" }).All(t.Context()); len(all) != 0 || err != nil {
		t.Errorf("no file: %v, %v", all, err)
	}
}
