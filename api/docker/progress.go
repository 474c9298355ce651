package docker

import "github.com/moby/moby/api/types/jsonstream"

// ProgressLine is one line of the streams that pull, load, import and build answer with: the published message and
// the two fields that older clients and several libraries still read.
type ProgressLine struct {
	jsonstream.Message
	// ProgressText repeats Progress as one line for a terminal ("progress", dropped from the API in 1.48).
	ProgressText string `json:"progress,omitempty"`
	// ErrorText repeats Error.Message ("error", likewise).
	ErrorText string `json:"error,omitempty"`
}
