package nextjs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"pier/test/lab"
)

const repository = "../.."

var bin string // folder of the programs under test

func TestMain(m *testing.M) { lab.Main(m, &bin) }

// page is what a browser shows at url once its scripts have run.
func page(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--virtual-time-budget=5000", "--user-data-dir="+t.TempDir(), "--dump-dom", url)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return string(out)
}

func TestNextJS(t *testing.T) {
	base := lab.Node(t)
	d := lab.Start(t, bin)
	d.Pier("import", "-c", "ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt NEXT_TELEMETRY_DISABLED=1", "-c", `CMD ["node"]`, base, "node")

	app := filepath.Join(t.TempDir(), "app")
	if out, err := exec.Command("cp", "-a", filepath.Join(repository, "examples", "nextjs"), app).CombinedOutput(); err != nil {
		t.Fatalf("copy the example: %v\n%s", err, out)
	}
	first := d.Do("pier", "build", "--progress", "plain", "-t", "nextjs", app)
	if first.Code != 0 {
		t.Fatalf("build: exit code %d\n%s%s", first.Code, first.Out, first.Err)
	}

	show := func(want string) {
		t.Helper()
		d.Pier("run", "-d", "--name", "web", "-p", "127.0.0.1::3000", "-m", "512m", "nextjs")
		url := "http://" + d.Pier("port", "web", "3000") + "/"
		d.Eventually("the page", func() error { return exec.Command("curl", "-fsS", "-o", "/dev/null", "--max-time", "30", url).Run() })
		text := page(t, url)
		for _, part := range []string{want, "The script runs in the browser", d.Pier("inspect", "-f", "{{.Config.Hostname}}", "web")} {
			if !strings.Contains(text, part) {
				t.Errorf("the page lacks %q:\n%s", part, text)
			}
		}
		d.Pier("rm", "-f", "web")
	}
	show("Next.js on Pier")

	// One source file changes: what stands before `COPY . .` is taken from the cache, what follows is built.
	source := filepath.Join(app, "app", "page.js")
	data, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source, []byte(strings.Replace(string(data), "Next.js on Pier", "A changed page", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	second := d.Do("pier", "build", "--progress", "plain", "-t", "nextjs", app)
	if second.Code != 0 {
		t.Fatalf("second build: exit code %d\n%s%s", second.Code, second.Out, second.Err)
	}
	for step, cached := range map[string]bool{"WORKDIR /app": true, "COPY package.json yarn.lock ./": true, "RUN yarn install": true, "COPY . .": false, "RUN yarn build": false} {
		if got := wasCached(second.Out, step); got != cached {
			t.Errorf("step %q: cached = %v, want %v\n%s", step, got, cached, second.Out)
		}
	}
	show("A changed page")
}

// wasCached reports whether plain progress says CACHED of the step whose title ends with name.
func wasCached(out, name string) bool {
	m := regexp.MustCompile(`(?m)^#(\d+) .*` + regexp.QuoteMeta(name) + `$`).FindStringSubmatch(out)
	return m != nil && strings.Contains(out, fmt.Sprintf("#%s CACHED\n", m[1]))
}
