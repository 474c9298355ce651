package custody

import (
	"context"

	"pier/api/shim"
	"pier/lib/errkind"
)

// Probe runs a short command in a running container from its beginning to its end, without a trace: no stream, no exit in
// the feed. One that the supervisor's death or upgrade has cut short is errkind.Unavailable: how it would have ended is
// not known, and nothing of it runs on. A supervisor of before there were
// probes answers errkind.Unsupported. Ending ctx kills the command.
func Probe(ctx context.Context, c *Custodian, p *shim.Probe) (*shim.Probed, error) {
	inc, err := c.living(ctx)
	if err != nil {
		return nil, err
	}
	short := *p
	if p.Key != "" {
		short.Process, short.Seccomp = nil, nil
	}
	answer, err := inc.call(ctx, &shim.Request{Kind: shim.KindProbe, Probe: &short})
	if err == nil && answer.Probed != nil && answer.Probed.Missing {
		answer, err = inc.call(ctx, &shim.Request{Kind: shim.KindProbe, Probe: p})
	}
	if err == nil && answer.Probed == nil {
		err = errkind.New(errkind.Internal, "probe of %s: the supervisor does not say how it ended", p.ID)
	}
	if err != nil {
		return nil, err
	}
	return answer.Probed, nil
}
