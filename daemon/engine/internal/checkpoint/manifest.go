package checkpoint

import (
	"encoding/json"
	"os"
	"time"

	api "github.com/moby/moby/api/types/network"

	"pier/daemon/network"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// manifestName is the file that makes a folder a checkpoint.
const manifestName = "pier-container.json"

// maxManifest bounds it, in bytes.
const maxManifest = 1 << 20

// Manifest says what a checkpoint is of. It is a file of the checkpoint, which the user may have from anywhere.
type Manifest struct {
	// Version is 1. A later one means something else.
	Version int
	// Container is the identifier, Name and Image what the user called the two.
	Container, Name, Image string
	Created                time.Time
	// Networks are the addresses by the names of the networks.
	Networks map[string]network.Addresses `json:",omitempty"`
}

// AddressesOf takes down what a container has.
func AddressesOf(settings map[string]*api.EndpointSettings) map[string]network.Addresses {
	out := map[string]network.Addresses{}
	for name, e := range settings {
		if e != nil && (e.IPAddress.IsValid() || e.GlobalIPv6Address.IsValid()) {
			out[name] = network.Addresses{IPv4: e.IPAddress, IPv6: e.GlobalIPv6Address, MAC: e.MacAddress}
		}
	}
	return out
}

// missing says which address of the checkpoint a container that is about to go on from it did not get; "" where it has all.
// A network that it is not connected to any more counts as well.
func (m *Manifest) missing(settings map[string]*api.EndpointSettings) string {
	have := AddressesOf(settings)
	for name, want := range m.Networks {
		got := have[name]
		switch {
		case got.IPv4 != want.IPv4:
			return want.IPv4.String() + " on network " + name
		case got.IPv6 != want.IPv6:
			return want.IPv6.String() + " on network " + name
		case got.MAC.String() != want.MAC.String():
			return want.MAC.String() + " on network " + name
		}
	}
	return ""
}

func writeManifest(folder *os.File, m Manifest) error {
	m.Version = 1
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	root := fsroot.FromFile(folder)
	f, err := root.OpenFile(manifestName, os.O_WRONLY|os.O_CREATE|os.O_EXCL|fsroot.ONofollow, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close() // synced with the rest
}

func readManifest(folder *os.File) (Manifest, error) {
	var m Manifest
	text, err := fsroot.FromFile(folder).ReadFile(manifestName, maxManifest)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, errkind.New(errkind.Invalid, "%s: %w", manifestName, err)
	}
	if m.Version != 1 {
		return m, errkind.New(errkind.Unsupported, "%s is of version %d: it was made by another release", manifestName, m.Version)
	}
	return m, nil
}
