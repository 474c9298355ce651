// Package image keeps images: configurations, names, and which layers they stand on.
//
//	<root>                  blobs on their way in from a registry, see package blob
//	└── spool/<random>/     an archive that is being loaded, taken apart
//	records "images"        <ID>             -> imageRow: the configuration, chain IDs of the layers
//	records "image-names"   <canonical name> -> nameRow: ID
//
//	archive ─ Load ──┐                                    ┌─ Save ─> archive
//	registry ─ Pull ─┼─> layers, then one record of image ─┼─ Get, List, History
//	tar ─── Import ──┘             and names               └─ Hold, Remove
//
// Layers are on the disk before the record that names them, and an image and its names are one commit: so a power cut
// leaves each image whole or not there.
// Names, references and removal follow Docker Engine word for word, for scripts compare the words.
//
// Whoever uses an image holds it under a name of its own; Remove looks at holds only. Holds live in memory.
//
// Locks: Store.change serialises changes and is held while records are written; Store.mu guards the maps and is never
// held across disk or network. change before mu, mu before the layer store's own.
//
// Start reading at Store, then Store.Get.
package image
