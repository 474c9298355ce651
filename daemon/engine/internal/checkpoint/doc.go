// Package checkpoint keeps the checkpoints of containers: folders that the runtime fills and restores from.
//
//	<folder>/<name>/                       one checkpoint: the runtime's files, and
//	<folder>/<name>/pier-container.json    of what it is (Manifest), written last: a folder without it is none
//	<folder>/.<name>.making-<random>       one that is being made, or .gone-<random>, removed
//	containers/<id>/checkpoint.pending     names the one of those that a container has at the moment
//
// The folder is containers/<id>/checkpoints, which goes with the container, or one that the user names. A checkpoint gets its
// name when it is whole and on the disk, by one rename. What a crash leaves has a name that no checkpoint can have, and
// stands in the note checkpoint.pending from before it exists: Recover removes it wherever it lies.
//
// The folder that the user names is a path of the host, and means what it means to the host. Everything below it is found
// through kernel/fsroot, and its symbolic links are not followed.
//
// Start reading at Store.
package checkpoint
