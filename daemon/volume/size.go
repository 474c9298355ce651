package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	units "github.com/docker/go-units"

	"pier/kernel/quota"
	"pier/lib/atomicfile"
	"pier/lib/errkind"
	"pier/lib/id"
)

// sizeOption bounds what a volume takes on the disk.
const sizeOption = "size"

// sizeOf reads the option size, in bytes; 0: no bound.
func sizeOf(options map[string]string) (int64, error) {
	text, given := options[sizeOption]
	if !given {
		return 0, nil
	}
	size, err := units.RAMInBytes(text)
	if err != nil {
		return 0, errkind.New(errkind.Invalid, "%w", err)
	}
	return size, nil
}

func checkOptions(name string, options map[string]string) error {
	s, err := parseOptions(name, options)
	if err != nil {
		return err
	}
	size, err := sizeOf(options)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if size > 0 && s != nil {
		return errkind.New(errkind.Invalid, "create %s: size bounds a volume that lies in the data root, and not device %q: leave one of them out "+
			"(a tmpfs takes its size as o=size=%s)", name, options["device"], options[sizeOption])
	}
	return nil
}

// makeSized is make for a volume whose content is bounded. It is made aside and gets its name last: a crash leaves all of
// it or what the next Open removes, never a volume whose bound nobody knows of. The bound is that of the volume's folder,
// which no container sees, so that a container cannot take the number away by which it is released.
func (v *Volumes) makeSized(ctx context.Context, one *volume, size int64) (err error) {
	aside := gonePrefix + id.New()
	dir := filepath.Join(v.root, aside)
	if err := os.Mkdir(dir, 0o711); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = v.records.Delete(context.WithoutCancel(ctx), one.name)
			_ = v.destroy(aside)
		}
	}()
	if err := quota.Limit("volume "+one.name, size, dir); err != nil {
		if errkind.Is(err, errkind.Unsupported) { // Docker's words, and its status
			return errkind.New(errkind.Invalid, "quota size requested but no quota support: %w", err)
		}
		return err
	}
	content := filepath.Join(dir, dataDir)
	if err := os.Mkdir(content, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(content, 0o755); err != nil { // as in make
		return err
	}
	if err := v.records.Put(ctx, one.name, one.row); err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(v.root, one.name)); err != nil {
		return err
	}
	// A record whose folder a power cut took away again would be dropped.
	if err := atomicfile.SyncDir(v.root); err != nil {
		_ = v.bury(one.name)
		return err
	}
	return nil
}

// checkSize refuses to mount a volume whose bound its file system does not keep to any more: one that was mounted without
// project quotas since, or filled from a backup.
func (v *Volumes) checkSize(one *volume) error {
	if size, err := sizeOf(one.Options); err != nil || size == 0 {
		return err
	}
	kept, err := quota.Limited(filepath.Join(v.root, one.name))
	if err == nil && !kept {
		err = errkind.New(errkind.Unsupported, "its size of %s is not kept to: the file system has lost the volume's project quota: "+
			"mount it with the option prjquota, or copy the content, which is in %s, to a new volume", one.Options[sizeOption], v.path(one.name))
	}
	return err
}

// Sized reports whether the volume of that name has a bound, by the option size.
func (v *Volumes) Sized(name string) bool {
	v.mu.Lock()
	one := v.byID[name]
	v.mu.Unlock()
	if one == nil {
		return false
	}
	size, _ := sizeOf(one.Options) // checked when it was made
	return size > 0
}

// destroy deletes what bury, a crash or makeSized left under a name that begins with gonePrefix, its bound included.
func (v *Volumes) destroy(gone string) error {
	if err := quota.Release(filepath.Join(v.root, gone)); err != nil {
		return err
	}
	return v.erase(gone)
}
