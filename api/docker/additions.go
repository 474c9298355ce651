package docker

import "strings"

// AdditionsHeader is in the answers of GET and HEAD /_ping of a pierd: the additions that it knows, with a space
// between them. Another server sends none.
const AdditionsHeader = "Pier-Additions"

// Addition is something that Pier adds to the API and that a server which does not know it passes over as if it had been
// done. Whoever relies on one asks for it first. The values are words without spaces, and do not change.
type Addition string

// The additions to ask for.
const (
	AddedArchive Addition = "archive" // GlobParameter, FollowParameter, OwnerParameter, ModeParameter
	AddedProbes  Addition = "probes"  // ProbeHTTP, ProbeTCP, ProbeGRPC, ProbeFile
	AddedPublish Addition = "publish" // Update.PierPublishAdd, Update.PierPublishRemove
	AddedSecrets Addition = "secrets" // HostConfig.PierSecrets
)

// Additions is the value of AdditionsHeader of this pierd.
const Additions = string(AddedArchive + " " + AddedProbes + " " + AddedPublish + " " + AddedSecrets)

// Known reports whether additions, the value of a server's AdditionsHeader, names a.
func (a Addition) Known(additions string) bool {
	for word := range strings.FieldsSeq(additions) {
		if word == string(a) {
			return true
		}
	}
	return false
}
