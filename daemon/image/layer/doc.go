// Package layer keeps image layers as folders that overlayfs stacks, and the writable layers of containers.
//
//	<root>                        0700: nobody else looks in
//	├── chains/<hex>/             one read-only layer, called by its chain ID
//	│   ├── diff/                 its content in overlayfs form; what overlayfs stacks
//	│   ├── shadow/<n>            entries that the same archive replaced later (rare)
//	│   ├── recipe                how to make the exact tar out of diff again, see recipe.go
//	│   ├── layer.json            DiffID, parent, sizes; written last
//	│   └── settled               there once the layer is known to be on the disk
//	├── writable/<id>/{diff,work} a container's or build step's changes
//	├── empty/                    what an image without layers shows
//	├── base/                     empty files and folders to mount upon, see MountOptions.MountPoints
//	├── tmp/<random>/             layers in the making
//	└── trash/<random>            what is being deleted
//
//	tar ── Apply ──> tmp/... ── rename ──> chains/<hex> ── Tar ──> the same tar, byte for byte
//	overlay upper ── Commit (one rename, one pass to hash) ──┘
//
// A layer becomes visible by one rename, so a killed Pier leaves whole layers and rubbish in tmp, which Open throws away.
// A power cut can take the content of files that were not synced: Sync makes all new layers durable at once, and layers
// of an earlier boot that no Sync covered do not exist until Trust names them.
//
// Layers are kept by holds, which live in memory; Collect removes the others.
//
// Locks: Store.mu guards the maps; nothing slower than a rename happens under it.
//
// Start reading at Store.
package layer
