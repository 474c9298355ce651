package registry

// Progress is one line of what clients draw while content moves: a status for one item. Layers carry their short
// identifier; lines about the whole have none.
type Progress struct {
	ID      string // short layer identifier, "" for lines about the whole
	Status  string // Docker's words: "Downloading", "Download complete", "Loading layer", ...
	Current int64  // bytes done, with Total > 0
	Total   int64  // bytes in all, 0 where the line has no bar
}
