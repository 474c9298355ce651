// Package volume keeps named and anonymous volumes: folders that outlive containers.
//
//	<root>/<name>/_data     the content; other file systems are mounted on it where the options ask for one
//	<root>/.gone-<id>       a volume that is being removed, or one with a size that is being made; Open removes what a
//	                        crash left
//
// A volume with the option size has a project quota (kernel/quota) on <root>/<name>.
//
// Records are in table "volumes", key name. A folder without a record (restored from a backup, say) is taken in as a
// volume; a record without its folder is dropped. References and mounts are not recorded: the engine holds and mounts
// again what its containers have when it starts.
//
// Locks: Volumes.mu guards the maps and is never held during file work; each volume's own lock serialises creation,
// mounting, copying and removal of that volume, and is taken before mu.
//
// Start reading at Volumes.
package volume
