package custody

import (
	"context"
	"slices"
	"sync"

	"pier/api/shim"
	"pier/lib/errkind"
)

// Probes runs short commands in running containers from their beginning to their end, without a trace: no stream, no exit
// in the feed. It asks for all of them at once, of which there may be shim.MaxProbes, and returns when all have ended. told
// is called once for each, with its place in all, as soon as it has ended; several calls may be under way at a time.
//
// One that the supervisor's death or upgrade has cut short is errkind.Unavailable: how it would have ended is not known, and
// nothing of it runs on. Ending ctx kills those that still run.
func Probes(ctx context.Context, c *Custodian, all []shim.Probe, told func(i int, ended *shim.Probed, err error)) {
	short := slices.Clone(all)
	for i := range short {
		if short[i].Key != "" {
			short[i].Process, short[i].Seccomp = nil, nil
		}
	}
	var again sync.WaitGroup
	c.probes(ctx, short, func(i int, ended *shim.Probed, err error) {
		if err != nil || !ended.Missing {
			told(i, ended, err)
			return
		}
		again.Go(func() { // alone: what it runs may be large
			c.probes(ctx, all[i:i+1], func(_ int, ended *shim.Probed, err error) { told(i, ended, err) })
		})
	})
	again.Wait()
}

// probes is Probes without a second attempt.
func (c *Custodian) probes(ctx context.Context, all []shim.Probe, told func(i int, ended *shim.Probed, err error)) {
	answered, left := make([]bool, len(all)), len(all)
	inc, err := c.living(ctx)
	if err == nil {
		err = inc.converse(ctx, &shim.Request{Kind: shim.KindProbes, Probes: all}, nil, func(r *response) (more bool, err error) {
			for i := range r.Probed {
				p := &r.Probed[i]
				if p.Index < 0 || p.Index >= len(all) || answered[p.Index] {
					return false, errkind.New(errkind.Internal, "the supervisor tells of a probe that it was not asked for")
				}
				answered[p.Index] = true
				left--
				if p.Error != nil {
					told(p.Index, nil, p.Error)
				} else {
					told(p.Index, p, nil)
				}
			}
			if len(r.Probed) == 0 {
				return false, errkind.New(errkind.Internal, "the supervisor does not say how probes ended")
			}
			return left > 0, nil
		})
	}
	for i, did := range answered {
		if !did {
			told(i, nil, err)
		}
	}
}
