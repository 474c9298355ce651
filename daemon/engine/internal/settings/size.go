package settings

import "pier/kernel/fsinfo"

// TreeSize is what the tree at path takes up on disk, in bytes. The path is the host's and trusted, its content is not.
func TreeSize(path string) (int64, error) { return fsinfo.Usage(path) }
