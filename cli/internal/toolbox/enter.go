package toolbox

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"

	"pier/client"
	"pier/lib/errkind"
)

// imageMounts is the API version 1.x since which an image can be mounted.
const imageMounts = 48

// MayEnter refuses to enter where processes may trace others: the runtime makes the first process of the toolbox in the
// namespace that they see, and could be taken over at that moment. A container that is privileged needs no such detour,
// and another toolbox is as trusted as the image that both are made from.
func MayEnter(ctx context.Context, c *client.Client, target *container.InspectResponse, image string) error {
	owner := target.ID
	if target.HostConfig.PidMode.IsContainer() {
		owner = target.HostConfig.PidMode.Container()
	}
	running, err := c.Containers().List(ctx, client.ListOptions{})
	if err != nil {
		return err
	}
	for i := range running {
		if running[i].Labels[Label] != "" && running[i].Image == image {
			continue
		}
		t, err := c.Containers().Inspect(ctx, running[i].ID)
		if errkind.Is(err, errkind.NotFound) {
			continue // it went meanwhile
		}
		if err != nil {
			return err
		}
		if t.ID != owner && t.HostConfig.PidMode.Container() != owner || t.HostConfig.Privileged || !Traces(t.HostConfig) {
			continue
		}
		return errkind.New(errkind.Invalid, "container %s may trace other processes (SYS_PTRACE) and could take over what enters %s: use --trust if you trust it, or pier exec",
			strings.TrimPrefix(t.Name, "/"), strings.TrimPrefix(target.Name, "/"))
	}
	return nil
}

// Snapshot makes an image of what a container changed, to be mounted: its files for reading, without copying what they have
// in common with its own image. It is "" where the daemon mounts no images.
func Snapshot(ctx context.Context, c *client.Client, target *container.InspectResponse) (string, error) {
	_, minor, _ := strings.Cut(c.Version(), ".")
	if n, err := strconv.Atoi(minor); err != nil || n < imageMounts {
		return "", nil
	}
	return c.Files().Commit(ctx, target.ID, client.CommitOptions{Comment: "what pier debug looks at"})
}

// ShowFiles puts the files of a container at Files of its toolbox, and says in words where they are. Of one that runs
// it is a link to the root of its first process; of another an image that is mounted there, or else a copy.
func ShowFiles(ctx context.Context, c *client.Client, id string, target *container.InspectResponse, mounted bool) (string, error) {
	switch {
	case target.State.Running:
	case mounted:
		return "it does not run; its files are at " + Files + ", its volumes below " + VolumesDir + ", all for reading", nil
	default:
		if err := put(ctx, c, id, &tar.Header{Name: Files[1:] + "/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			return "", err
		}
		files, err := c.Files().Export(ctx, target.ID)
		if err != nil {
			return "", err
		}
		defer files.Close()
		return "it does not run; a copy of its files is at " + Files + ", its volumes are below " + VolumesDir, c.Files().Write(ctx, id, Files, files, client.WriteOptions{})
	}
	root := Root(target)
	if root == "" {
		return "its files are at /proc/PID/root of one of its processes", nil
	}
	return "its files are at " + Files, put(ctx, c, id, &tar.Header{Name: Files[1:], Typeflag: tar.TypeSymlink, Linkname: root, Mode: 0o777})
}

// put makes one entry without content in the root of a container.
func put(ctx context.Context, c *client.Client, ref string, h *tar.Header) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := c.Files().Write(ctx, ref, "/", &archive, client.WriteOptions{}); err != nil {
		return fmt.Errorf("make %s in the toolbox: %w", Files, err)
	}
	return nil
}
