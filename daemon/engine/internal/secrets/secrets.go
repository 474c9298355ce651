// Package secrets gives containers files that their processes alone see.
//
//	Check     create: what may be asked for; the list without content is part of the container's record
//	Keep      create: the content is put to rest in the container's folder
//	Provide   start: a file system in memory with owners and modes, read-only, bound file by file
//	Withdraw  end: that file system is gone
//	Sweep     remove, or after a crash: both are gone
//
// On disk, below a container's folder:
//
//	secrets/<n>     the content, mode 0600 in a folder of mode 0700. For --rm it is a file system in memory itself
//	secrets.run/    what Provide made, while the container runs
//
// Both file systems are ramfs, whose pages the kernel never writes to a swap device, on any version (tmpfs learned that with
// Linux 6.4). It knows no limit; what is in it is bounded by Check, and nobody can write to it but who may mount such file
// systems anyway (CAP_SYS_ADMIN without a user namespace undoes the read-only, of a mount and of a file system alike).
//
// Start reading at Provide.
package secrets

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"pier/api/docker"
	"pier/daemon/engine/internal/settings"
	"pier/kernel/fsroot"
	"pier/kernel/mount"
	"pier/kernel/self"
	"pier/lib/atomicfile"
	"pier/lib/errkind"
)

const (
	restDir = "secrets"
	runDir  = "secrets.run"

	maxID = 1<<31 - 1 // of users and groups, see settings
)

func refuse(format string, args ...any) error { return errkind.New(errkind.Invalid, format, args...) }

// Check returns what a record and its readers may know of the secrets asked for, with absolute targets. mounts are the
// container's others. A request that cannot work is Invalid; no error repeats content.
func Check(asked []docker.NewSecret, mounts []settings.Mount) ([]docker.Secret, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	if len(asked) > docker.MaxSecrets {
		return nil, refuse("%d secrets are too many: a container has at most %d", len(asked), docker.MaxSecrets)
	}
	var taken []string
	for _, m := range mounts {
		taken = append(taken, m.Destination)
	}
	all := 0
	list := make([]docker.Secret, 0, len(asked))
	for _, one := range asked {
		s := one.Secret
		if err := place(&s); err != nil {
			return nil, err
		}
		if n := len(one.Content); n == 0 || n > docker.MaxSecretSize {
			return nil, refuse("secret %s: secret data must be larger than 0 and at most %d bytes", s.Target, docker.MaxSecretSize)
		}
		if all += len(one.Content); all > docker.MaxSecretsAll {
			return nil, refuse("the secrets of a container may have at most %d bytes together", docker.MaxSecretsAll)
		}
		for _, id := range []*int{s.UID, s.GID} {
			if id != nil && (*id < 0 || *id > maxID) {
				return nil, refuse("secret %s: uids and gids must be in range 0-%d", s.Target, maxID)
			}
		}
		if s.Mode > 0o777 {
			return nil, refuse("secret %s: invalid mode %#o: want 0400, or other permission bits", s.Target, s.Mode)
		}
		list, taken = append(list, s), append(taken, s.Target)
	}
	for _, s := range list {
		same := 0
		for _, other := range taken {
			if other == s.Target {
				same++
			}
			if strings.HasPrefix(other, s.Target+"/") {
				return nil, refuse("secret %s is a file: nothing can be mounted at %s", s.Target, other)
			}
		}
		if same > 1 {
			return nil, refuse("Duplicate mount point: %s", s.Target)
		}
	}
	return list, nil
}

// place makes the target of a secret an absolute, clean path where a file can be.
func place(s *docker.Secret) error {
	t := s.Target
	bad := strings.ContainsFunc(t, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.HasSuffix(t, "/")
	switch {
	case bad || t == "":
		return refuse("invalid target of a secret %q: want a file's name in %s, or an absolute path", t, docker.SecretsDir)
	case path.IsAbs(t):
		t = path.Clean(t)
	case !filepath.IsLocal(t) || path.Clean(t) == ".":
		return refuse("invalid target of a secret %q: it leads out of %s: use an absolute path", t, docker.SecretsDir)
	default:
		t = path.Join(docker.SecretsDir, t)
	}
	for _, kernel := range []string{"/proc", "/sys"} {
		if t == "/" || t == kernel || strings.HasPrefix(t, kernel+"/") {
			return refuse("invalid target of a secret %q: no file can be there", s.Target)
		}
	}
	s.Target = t
	return nil
}

// Keep puts the content of the secrets of a container that is being made into its folder dir, which is new, safe from a
// power cut; with volatile, which is for what a reboot ends, into memory.
func Keep(dir string, asked []docker.NewSecret, volatile bool) (err error) {
	if len(asked) == 0 {
		return nil
	}
	defer func() { err = failed("keep the secrets", dir, err) }()
	rest := filepath.Join(dir, restDir)
	if err := os.Mkdir(rest, 0o700); err != nil {
		return err
	}
	if volatile {
		memory, err := memory()
		if err != nil {
			return err
		}
		defer memory.Close()
		if err := mount.Attach(memory, rest); err != nil {
			return err
		}
	}
	for i, s := range asked {
		if err := write(filepath.Join(rest, strconv.Itoa(i)), s.Content, !volatile); err != nil {
			return err
		}
	}
	if volatile {
		return nil
	}
	return errors.Join(atomicfile.SyncDir(rest), atomicfile.SyncDir(dir), atomicfile.SyncDir(filepath.Dir(dir)))
}

// failed names the container whose folder is dir.
func failed(what, dir string, err error) error {
	if err == nil {
		return nil
	}
	return errkind.OfDisk(what+" of container "+filepath.Base(dir), err)
}

func memory() (*os.File, error) {
	return mount.Filesystem("ramfs", map[string]string{"source": "secrets", "mode": "700"}, mount.Nosuid|mount.Nodev|mount.Noexec)
}

// write makes a new file. Nobody knows of it yet: its folder has no record.
func write(name string, content []byte, durable bool) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && durable {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Provide makes the secrets of the container whose folder is dir, and whose process s describes, and adds them to s. What
// an earlier start left is replaced. Withdraw undoes it, after an error too.
func Provide(dir string, list []docker.Secret, s *specs.Spec) (err error) {
	if len(list) == 0 {
		return nil
	}
	defer func() { err = failed("provide the secrets", dir, err) }()
	files, err := memory()
	if err != nil {
		return err
	}
	defer files.Close()
	rest, err := fsroot.Open(filepath.Join(dir, restDir))
	if err != nil {
		return lost(err)
	}
	defer rest.Close()
	to, run := fsroot.FromFile(files), filepath.Join(dir, runDir)
	for i, one := range list {
		name := strconv.Itoa(i)
		content, err := rest.ReadFile(name, docker.MaxSecretSize)
		if err != nil {
			return lost(err)
		}
		err = self.Unforked(func() error { return fill(to, name, content, one, s.Process.User) })
		if err != nil {
			return err
		}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: one.Target, Type: "bind", Source: filepath.Join(run, name),
			Options: []string{"bind", "rprivate", "ro", "nosuid", "nodev", "noexec"}})
	}
	if err := mount.SetAttr(files, false, mount.ReadOnly, 0); err != nil {
		return err
	}
	if err := Withdraw(dir); err != nil {
		return err
	}
	if err := os.Mkdir(run, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return mount.Attach(files, run)
}

// lost says that the content of a secret is not there any more.
func lost(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errkind.New(errkind.Internal, "their content is gone: remove the container and create it anew: %w", err)
	}
	return err
}

// fill makes one file with its owner and mode.
func fill(to *fsroot.Root, name string, content []byte, one docker.Secret, user specs.User) error {
	f, err := to.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	uid, gid, mode := int(user.UID), int(user.GID), fs.FileMode(docker.SecretMode)
	if one.UID != nil {
		uid = *one.UID
	}
	if one.GID != nil {
		gid = *one.GID
	}
	if one.Mode != 0 {
		mode = fs.FileMode(one.Mode)
	}
	if _, err = f.Write(content); err == nil {
		err = f.Chown(uid, gid)
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	return errors.Join(err, f.Close())
}

// Withdraw takes away what Provide has made; processes that still run keep it. Nothing there: no error.
func Withdraw(dir string) error { return unmount(filepath.Join(dir, runDir)) }

// Sweep takes away what Provide and Keep mounted below a container's folder that is about to be removed.
func Sweep(dir string) error {
	return errors.Join(Withdraw(dir), unmount(filepath.Join(dir, restDir)))
}

func unmount(place string) error {
	if on, err := mount.Mounted(place); !on || err != nil {
		return err
	}
	return mount.Unmount(place, true)
}

// Device is that of the file system with the secrets of a container that has some and runs. Where it cannot be told, which
// is an error, nobody may look into the container from outside: a secret would pass for any other file.
func Device(dir string) (uint64, error) {
	place := filepath.Join(dir, runDir)
	on, err := mount.Mounted(place)
	if err == nil && !on {
		err = errors.New("nothing is mounted at " + place)
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(place)
	}
	if err != nil {
		return 0, errkind.New(errkind.Internal, "the secrets of container %s cannot be told from its other files: %v; restart the container",
			filepath.Base(dir), err)
	}
	return fsroot.AttrOf(info).Dev, nil
}

// Places are the paths that a start makes to put the secrets on.
func Places(list []docker.Secret) []string {
	var out []string
	for _, s := range list {
		for at := s.Target; at != "/"; at = path.Dir(at) {
			if !slices.Contains(out, at) {
				out = append(out, at)
			}
		}
	}
	return out
}
