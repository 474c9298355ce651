package engine

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"

	"pier/api/docker"
	"pier/kernel/mount"
	"pier/lib/errkind"
)

// withSecrets makes a container of busybox.
func (r *rig) withSecrets(f setup, secrets []docker.NewSecret, cmd ...string) string {
	r.t.Helper()
	c, h := &container.Config{Image: "busybox", Cmd: cmd}, &container.HostConfig{NetworkMode: "none"}
	if f != nil {
		f(c, h)
	}
	res, err := r.Containers().Create(context.Background(), CreateRequest{Config: c, HostConfig: h, Secrets: secrets})
	r.must(err)
	return res.ID
}

func secretAt(target, content string) docker.NewSecret {
	return docker.NewSecret{Secret: docker.Secret{Target: target}, Content: docker.SecretContent(content)}
}

// A secret is a file in memory with the owner and mode asked for, that nobody can change.
func TestSecrets(t *testing.T) {
	r := newRig(t)
	seven := 7
	own := secretAt("/etc/app/key", "k\x00e\ny")
	own.UID, own.GID, own.Mode = &seven, new(int), 0o640
	cid := r.withSecrets(func(c *container.Config, h *container.HostConfig) { c.User, h.ReadonlyRootfs = "app", true },
		[]docker.NewSecret{secretAt("token", "word"), secretAt("deep/er", "2"), own}, "sh", "-c",
		`cat /run/secrets/token; echo; stat -c '%n %u %g %a %s' /run/secrets/token /run/secrets/deep/er /etc/app/key
		grep ' /run/secrets/token ' /proc/self/mountinfo; cat /etc/app/key 2>&1; echo x 2>&1 >/run/secrets/token`)
	out, code, err := r.finish(cid)
	r.must(err)
	for _, want := range []string{"word\n", "/run/secrets/token 1000 1001 400 4\n", "/run/secrets/deep/er 1000 1001 400 1\n", "/etc/app/key 7 0 640 5\n",
		"ro,nosuid,nodev,noexec", " ramfs ", "'/etc/app/key': Permission denied"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q", want)
		}
	}
	if code == 0 || t.Failed() {
		t.Errorf("exit code %d\n%s", code, out)
	}
	// It is there again at the next start, also after another daemon has come; and unseen from outside meanwhile.
	if on, err := mount.Mounted(filepath.Join(r.dir, "data/containers", cid, "secrets.run")); on || err != nil {
		t.Errorf("mounted after the end: %v, %v", on, err)
	}
	r.close()
	r.open()
	if again, _, err := r.finish(cid); err != nil || !strings.HasPrefix(again, "word\n") {
		t.Errorf("the second start: %q, %v", again, err)
	}
	i, err := r.Containers().Inspect(context.Background(), cid, false)
	if err != nil || len(i.Secrets) != 3 || i.Secrets[0].Target != "/run/secrets/token" || *i.Secrets[2].UID != 7 {
		t.Errorf("%+v, %v", i.Secrets, err)
	}
	// Content that is lost is told of.
	r.must(os.RemoveAll(filepath.Join(r.dir, "data/containers", cid, "secrets")))
	if err := r.Containers().Start(context.Background(), cid); err == nil || !strings.Contains(err.Error(), "create it anew") {
		t.Errorf("without the content: %v", err)
	}
}

// With --rm nothing comes to the disk; a crash of the daemon takes nothing away, and in the end nothing is left.
func TestSecretsOfPassingContainers(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	cid := r.withSecrets(func(_ *container.Config, h *container.HostConfig) { h.AutoRemove = true },
		[]docker.NewSecret{secretAt("token", "passing")}, "sh", "-c", "cat /run/secrets/token; trap 'exit 0' TERM; while :; do sleep 0.05; done")
	dir := filepath.Join(r.dir, "data/containers", cid)
	if on, err := mount.Mounted(filepath.Join(dir, "secrets")); !on || err != nil {
		t.Errorf("the content is not in memory: %v", err)
	}
	r.must(r.Containers().Start(ctx, cid))
	r.close()
	r.open()
	if out := r.exec(cid, "cat", "/run/secrets/token"); out != "passing" {
		t.Errorf("after a crash: %q", out)
	}
	r.must(r.Containers().Restart(ctx, cid, StopOptions{}))
	if out := r.exec(cid, "cat", "/run/secrets/token"); out != "passing" {
		t.Errorf("started again: %q", out)
	}
	r.must(r.Containers().Remove(ctx, cid, RemoveOptions{Force: true}))
	r.eventually("the folder is gone", func() bool { _, err := os.Stat(dir); return os.IsNotExist(err) })
	table, err := os.ReadFile("/proc/self/mountinfo")
	r.must(err)
	if strings.Contains(string(table), cid) {
		t.Errorf("mounts are left:\n%s", table)
	}
}

// No way of copying a container's files yields a secret, nor what a start has made to put it on; what the container did
// to the folders that it is in stays.
func TestSecretsStayInside(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	const content = "nobody-else's"
	cid := r.withSecrets(nil, []docker.NewSecret{secretAt("/newly/made/token", content), secretAt("/bin/notexec", content)}, "sh", "-c",
		"chmod 751 /bin; ln -s /newly/made/token /link; echo $(cat /newly/made/token | wc -c) >/made; sleep 1000")
	r.must(r.Containers().Start(ctx, cid))
	r.eventually("its work", func() bool { return r.exec(cid, "cat", "/made") == "13\n" })
	for _, name := range []string{"/newly/made/token", "/bin/notexec"} {
		if _, err := r.Files().Stat(ctx, cid, name); !errkind.Is(err, errkind.Forbidden) {
			t.Errorf("stat of %s: %v", name, err)
		}
		if _, _, err := r.Files().Read(ctx, cid, name); !errkind.Is(err, errkind.Forbidden) {
			t.Errorf("read of %s: %v", name, err)
		}
		if _, _, err := r.Files().Match(ctx, cid, name[:len(name)-3]+"*", true); !errkind.Is(err, errkind.Forbidden) {
			t.Errorf("a pattern for %s: %v", name, err)
		}
	}
	archives := map[string]func(w io.Writer) error{"export": func(w io.Writer) error { return r.Files().Export(ctx, cid, w) }}
	for _, name := range []string{"/", "/newly", "/link", "/bin"} {
		archives[name] = func(w io.Writer) error {
			_, archive, err := r.Files().Read(ctx, cid, name)
			if err != nil {
				return err
			}
			defer archive.Close()
			_, err = io.Copy(w, archive)
			return err
		}
	}
	for _, pattern := range []string{"/*", "/bin/*", "/newl*", "/lin[k]"} {
		archives[pattern] = func(w io.Writer) error {
			_, archive, err := r.Files().Match(ctx, cid, pattern, false)
			if err != nil {
				return err
			}
			defer archive.Close()
			_, err = io.Copy(w, archive)
			return err
		}
	}
	for name, read := range archives {
		var b bytes.Buffer
		if err := read(&b); err != nil || strings.Contains(b.String(), content) || b.Len() < 512 {
			t.Errorf("%s: %d bytes, %v, content: %v", name, b.Len(), err, strings.Contains(b.String(), content))
		}
	}
	changes, err := r.Files().Changes(ctx, cid)
	r.must(err)
	for _, c := range changes {
		if strings.HasPrefix(c.Path, "/newly") || c.Path == "/bin/notexec" {
			t.Errorf("diff shows %+v", c)
		}
	}
	_, err = r.Files().Commit(ctx, cid, CommitOptions{Ref: "committed"})
	r.must(err)
	out, _ := r.run(func(c *container.Config, _ *container.HostConfig) { c.Image = "committed" }, "sh", "-c", "ls -d /newly; cat /bin/notexec; stat -c %a /bin")
	if !strings.Contains(out, "No such file") || !strings.Contains(out, "751") || strings.Contains(out, content) {
		t.Errorf("the image: %s", out)
	}
	// Where nobody can tell what is a secret, nothing is shown.
	r.must(mount.Unmount(filepath.Join(r.dir, "data/containers", cid, "secrets.run"), true))
	const blind = "cannot be told from its other files"
	if _, err := r.Files().Stat(ctx, cid, "/bin/notexec"); err == nil || !strings.Contains(err.Error(), blind) {
		t.Errorf("stat without the mount: %v", err)
	}
	if _, _, err := r.Files().Read(ctx, cid, "/newly"); err == nil || !strings.Contains(err.Error(), blind) {
		t.Errorf("read without the mount: %v", err)
	}
	if _, _, err := r.Files().Match(ctx, cid, "/newly/*", false); err == nil || !strings.Contains(err.Error(), blind) {
		t.Errorf("a pattern without the mount: %v", err)
	}
	r.must(r.Containers().Kill(ctx, cid, ""))
	if _, err := r.Files().Stat(ctx, cid, "/bin/sh"); err != nil {
		t.Errorf("stat after the end: %v", err)
	}
}

// What cannot be kept or mounted is refused when it is asked for, and nothing of the content is repeated.
func TestSecretsAreChecked(t *testing.T) {
	r := newRig(t)
	minus := -1
	owned, odd := secretAt("a", "content"), secretAt("a", "content")
	owned.UID, odd.Mode = &minus, 0o4400
	many := make([]docker.NewSecret, docker.MaxSecrets+1)
	large := secretAt("a", strings.Repeat("c", docker.MaxSecretSize))
	heavy := []docker.NewSecret{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		large.Target = name
		heavy = append(heavy, large)
	}
	for _, bad := range []struct {
		secrets []docker.NewSecret
		want    string
	}{
		{[]docker.NewSecret{secretAt("", "content")}, "invalid target"},
		{[]docker.NewSecret{secretAt("../etc/passwd", "content")}, "leads out of /run/secrets"},
		{[]docker.NewSecret{secretAt(".", "content")}, "leads out of"},
		{[]docker.NewSecret{secretAt("a\n", "content")}, "invalid target"},
		{[]docker.NewSecret{secretAt("/", "content")}, "invalid target"},
		{[]docker.NewSecret{secretAt("/proc/1/x", "content")}, "no file can be there"},
		{[]docker.NewSecret{secretAt("a", "")}, "larger than 0"},
		{[]docker.NewSecret{secretAt("a", strings.Repeat("c", docker.MaxSecretSize+1))}, "at most 512000 bytes"},
		{[]docker.NewSecret{secretAt("a", "content"), secretAt("/run/secrets/./a", "content")}, "Duplicate mount point: /run/secrets/a"},
		{[]docker.NewSecret{secretAt("a", "content"), secretAt("a/b", "content")}, "is a file"},
		{[]docker.NewSecret{secretAt("/t", "content")}, "Duplicate mount point: /t"},
		{[]docker.NewSecret{owned}, "must be in range"},
		{[]docker.NewSecret{odd}, "invalid mode"},
		{many, "65 secrets are too many"},
		{heavy, "together"},
	} {
		_, err := r.Containers().Create(context.Background(), CreateRequest{Config: &container.Config{Image: "busybox"},
			HostConfig: &container.HostConfig{Tmpfs: map[string]string{"/t": ""}}, Secrets: bad.secrets})
		if !errkind.Is(err, errkind.Invalid) || !strings.Contains(err.Error(), bad.want) || strings.Contains(err.Error(), "content ") {
			t.Errorf("%v, want %s", err, bad.want)
		}
	}
	if left, err := os.ReadDir(filepath.Join(r.dir, "data/containers")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
