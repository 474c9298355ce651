package settings

import (
	"fmt"
	"runtime"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/lib/errkind"
)

// CheckPlatform refuses an image, called ref and made for system and architecture, that is not of the platform asked for.
// Of one for another machine that nobody asked for by name it warns: its programs may run all the same, and if not,
// starting says so.
func CheckPlatform(ref string, asked *ocispec.Platform, system, architecture string) (warning string, err error) {
	switch {
	case asked != nil && (asked.Architecture != "" && asked.Architecture != architecture || asked.OS != "" && asked.OS != system):
		return "", errkind.New(errkind.NotFound, "image with reference %s was found but its platform (%s/%s) does not match the specified platform (%s/%s)",
			ref, system, architecture, asked.OS, asked.Architecture)
	case asked != nil || (system == "" || system == runtime.GOOS) && (architecture == "" || architecture == runtime.GOARCH):
		return "", nil
	}
	return fmt.Sprintf("The requested image's platform (%s/%s) does not match the detected host platform (%s/%s) and no specific platform was requested",
		system, architecture, runtime.GOOS, runtime.GOARCH), nil
}
