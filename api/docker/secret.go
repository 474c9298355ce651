package docker

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/moby/moby/api/types/container"
)

// What secrets a container may have.
const (
	MaxSecrets    = 64        // of one container
	MaxSecretSize = 500 << 10 // bytes of one, as Docker's
	MaxSecretsAll = 2 << 20   // bytes of all of one container: the kernel never swaps them out
)

// SecretMode is the mode of a secret for which none is asked.
const SecretMode = 0o400

// SecretsDir is the folder in the container for secrets whose Target is no absolute path.
const SecretsDir = "/run/secrets"

// Secret is a file that the processes of one container see and nobody else: HostConfig.PierSecrets, an addition of Pier
// to the containers' creation and description. This is what is told of it; NewSecret has its content.
type Secret struct {
	// Target is where it is: an absolute path, or one below SecretsDir.
	Target string
	// UID and GID own it; nil: those of the container's user.
	UID *int `json:",omitempty"`
	GID *int `json:",omitempty"`
	// Mode is its permission bits; 0: SecretMode. It cannot be written to in any case.
	Mode uint32 `json:",omitempty"`
}

// NewSecret is a secret of a container that is to be made.
type NewSecret struct {
	Secret
	Content SecretContent // base64 in JSON
}

// SecretContent is what a secret says. Package fmt does not print it, and errors of decoding do not repeat it.
type SecretContent []byte

// Format implements fmt.Formatter.
func (SecretContent) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte("[secret]")) }

// UnmarshalJSON implements json.Unmarshaler.
func (c *SecretContent) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, (*[]byte)(c)) != nil {
		return errors.New("the content of a secret is not base64 in a string")
	}
	return nil
}

// HostConfig is the published one with what Pier adds for the creation of a container.
type HostConfig struct {
	*container.HostConfig
	PierSecrets []NewSecret `json:",omitempty"`
}

// CreateRequest is the body of POST /containers/create with what Pier adds. The HostConfig of the published request in it
// is nil.
type CreateRequest struct {
	container.CreateRequest
	HostConfig *HostConfig
}

// Container is the answer of GET /containers/{id}/json for a container with secrets.
type Container struct {
	container.InspectResponse
	HostConfig *DescribedHostConfig
}

// DescribedHostConfig is the published one with what is told of Pier's additions.
type DescribedHostConfig struct {
	*container.HostConfig
	PierSecrets []Secret `json:",omitempty"`
}
