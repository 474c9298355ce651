package docker

// What Pier adds to the operations on /containers/{id}/archive. A server that does not know them passes over them.
const (
	// GlobParameter=1 makes path of GET a pattern (*, ? and [...] as in a shell), unless something has that name. The archive
	// holds all that matches, each under its own name; 404 where nothing does.
	GlobParameter = "glob"
	// FollowParameter=1, with GlobParameter, makes a match that is a symbolic link stand for what it leads to.
	FollowParameter = "followLinks"
	// MatchesHeader is how many files the archive of a pattern holds; the usual header describes the first.
	MatchesHeader = "Pier-Matches"
	// OwnerParameter of PUT gives everything to a "user[:group]" of the container's own etc/passwd and etc/group.
	OwnerParameter = "chown"
	// ModeParameter of PUT gives everything a mode, as COPY --chmod does: octal, or words such as "u=rwX,go=rX".
	ModeParameter = "chmod"
)
