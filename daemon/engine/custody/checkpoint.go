package custody

import (
	"context"
	"os"

	"pier/api/shim"
	"pier/lib/errkind"
)

// Dump writes what the processes of a container are into an empty folder, see shim.Dump. It takes as long as that takes; until
// then Freeze waits. Where ctx ends, or the supervisor dies, what is in the folder is of no use, and the processes go on.
func Dump(ctx context.Context, c *Custodian, d shim.Dump, folder *os.File) error {
	inc, err := c.living(ctx)
	if err != nil {
		return err
	}
	if !inc.hello.Checkpoints {
		return tooOld()
	}
	_, err = inc.call(ctx, &shim.Request{Kind: shim.KindDump, Dump: &d}, folder)
	return err
}

// Restore is Start for a container that goes on from what Dump has left in folder. s.Restore says how.
func Restore(ctx context.Context, c *Custodian, s *shim.Start, rootfs, netns, folder *os.File) (*shim.Task, error) {
	return c.start(ctx, s, rootfs, netns, folder)
}

// tooOld is the error where a supervisor of a former release would take a checkpoint for nothing.
func tooOld() error {
	return errkind.New(errkind.Unsupported, "the supervisor is of a release that knows no checkpoints: run pierd upgrade, which keeps all containers running")
}
