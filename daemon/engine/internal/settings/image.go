package settings

import (
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// CheckImage refuses what no container could be made with, in the configuration of an image that is about to be made: who
// commits it should hear of it, and not who runs it. It checks what Complete does, and changes nothing.
func CheckImage(image *dockerspec.DockerOCIImageConfig) error {
	c := &container.Config{User: image.User, Env: image.Env, Cmd: image.Cmd, Entrypoint: image.Entrypoint, WorkingDir: image.WorkingDir,
		StopSignal: image.StopSignal, Healthcheck: image.Healthcheck}
	if err := checkConfig(c); err != nil {
		return err
	}
	if err := checkUser(image.User); err != nil {
		return err
	}
	for dest := range image.Volumes {
		if err := checkTarget(dest); err != nil {
			return err
		}
	}
	for name := range image.ExposedPorts {
		port, err := network.ParsePort(name)
		if err != nil {
			return refuse("invalid port %s: %w", name, err)
		}
		if err := checkPort(port); err != nil {
			return err
		}
	}
	return nil
}
