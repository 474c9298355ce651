package network

import (
	"context"

	api "github.com/moby/moby/api/types/network"

	"pier/lib/errkind"
)

type state struct{}

func open(ctx context.Context, o Options) (*Networks, error) { return &Networks{}, nil }
func (s *state) list() []api.Inspect                         { return nil }
func (s *state) get(ref string) (api.Inspect, error) {
	return api.Inspect{}, errkind.New(errkind.NotFound, "network %s not found", ref)
}
func (s *state) create(ctx context.Context, r api.CreateRequest) (api.CreateResponse, error) {
	return api.CreateResponse{}, errkind.New(errkind.Unsupported, "create network")
}
func (s *state) remove(ctx context.Context, ref string) error { return nil }
func (s *state) join(ctx context.Context, o JoinOptions) (*Sandbox, error) {
	return nil, errkind.New(errkind.Unsupported, "join network")
}
func (s *state) leave(containerID string)                        {}
func (s *state) adopt(ctx context.Context, o AdoptOptions) error { return nil }
func (s *state) settle(ctx context.Context) error                { return nil }
func (s *state) close() error                                    { return nil }
func (s *state) destroy(ctx context.Context) error               { return nil }
