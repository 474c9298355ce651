// Package image keeps images: configurations, names, and which layers they stand on.
//
//	<root>                  an OCI image layout, see package blob; here only configurations stay
//	└── spool/<random>/     an archive that is being loaded, taken apart
//	records "images"        <ID>             -> imageRow: chain IDs of the layers
//	records "image-names"   <canonical name> -> nameRow: ID
//
//	archive ─ Load ─┐                                        ┌─ Save ─> archive
//	registry ─ Pull ┼─> layers, then blob, then record, then names ─┼─ Get, List, History
//	tar ─── Import ─┘                                        └─ Hold, Remove
//
// The order in which things are written is what makes a power cut harmless: a record names only what is on the disk.
// Names, references and removal follow Docker Engine word for word, for scripts compare the words.
//
// Whoever uses an image holds it under a name of its own; Remove looks at holds only. Holds live in memory.
//
// Locks: Store.change serialises changes and is held while records are written; Store.mu guards the maps and is never
// held across disk or network. change before mu, mu before the layer store's own.
//
// Start reading at Store, then Store.Get.
package image
