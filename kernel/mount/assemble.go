package mount

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"pier/kernel/fsroot"
)

// Part is one mount of a tree that Assemble puts together.
type Part struct {
	Mount *os.File // detached, of a folder or a file; borrowed
	// Place is where it goes, a path below the tree's root. It is resolved there, symbolic links included, and must exist.
	Place string
}

// Tree is a root file system with mounts on it, in a mount namespace that has no process: only its owner sees it.
type Tree struct{ root, namespace *os.File }

// Root is the tree's root, to be used with fsroot.FromFile. It belongs to the Tree.
func (t *Tree) Root() *os.File { return t.root }

// Close unmounts the tree, once nothing in it is open any more. It may take as long as a sync of the upper file system
// of an overlay.
func (t *Tree) Close() error {
	err := t.namespace.Close()
	if rootErr := t.root.Close(); err == nil {
		err = rootErr
	}
	return err
}

// Assemble moves the detached mount root into a mount namespace of its own and the parts onto it, in their order. Nothing
// of it spreads to other namespaces. It takes over root, also on an error. A tree of detached mounts would need no
// namespace, but kernels before 6.15 make none.
func Assemble(root *os.File, parts []Part) (*Tree, error) {
	for _, p := range parts {
		// A clone of a shared mount is its peer: what is mounted on it would appear on the host.
		if err := SetAttr(p.Mount, true, Private, 0); err != nil {
			root.Close()
			return nil, err
		}
	}
	t := &Tree{root: root}
	var err error
	onPassingThread(func() { err = t.assemble(parts) })
	if err != nil {
		if t.namespace != nil {
			t.namespace.Close()
		}
		root.Close()
		return nil, err
	}
	return t, nil
}

// assemble gives the calling thread another mount namespace, root folder and working folder.
func (t *Tree) assemble(parts []Part) (err error) {
	if t.namespace, err = ownNamespace(); err != nil {
		return err
	}
	if err := Attach(t.root, "/"); err != nil {
		return err
	}
	tree := fsroot.FromFile(t.root)
	for _, p := range parts {
		place, err := tree.OpenFile(p.Place, fsroot.OPath, 0)
		if err != nil {
			return fmt.Errorf("mount on %s: %w", p.Place, err)
		}
		err = Move(p.Mount, place, "")
		place.Close()
		if err != nil {
			return err
		}
	}
	// The host's mounts are not to be kept busy by this copy of them. A host that runs from its initial memory disk cannot
	// change roots; there the copy stays.
	if err := t.root.Chdir(); err == nil && unix.PivotRoot(".", ".") == nil {
		_ = unix.Unmount(".", unix.MNT_DETACH)
	}
	return nil
}
