package solve

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/solver/pb"

	"pier/daemon/build/internal/fileop"
	"pier/daemon/build/internal/graph"
	"pier/daemon/build/internal/tree"
	"pier/kernel/fsroot"
	"pier/lib/errkind"
)

// file runs a file operation. Its actions form chains: each works on an input or goes on where an earlier one stopped.
func (r *run) file(ctx context.Context, v *graph.Vertex, inputs []Result) (results []Result, err error) {
	op := v.Op.GetFile()
	f := fileRun{run: r, inputs: inputs, open: map[int]*scratch{}}
	defer f.drop()
	for i, a := range op.Actions {
		s, err := f.target(ctx, a.Input)
		if err != nil {
			return nil, err
		}
		f.open[len(inputs)+i] = s
		if err := f.action(ctx, a, s); err != nil {
			return nil, err
		}
		if a.Output < 0 {
			continue
		}
		delete(f.open, len(inputs)+i)
		chain, err := s.commit(ctx)
		if err != nil {
			return nil, err
		}
		for len(results) <= int(a.Output) {
			results = append(results, Result{})
		}
		results[a.Output] = Result{Chain: chain}
	}
	return results, nil
}

type fileRun struct {
	run    *run
	inputs []Result
	open   map[int]*scratch // results of actions that nobody has gone on with, by index
}

func (f *fileRun) drop() {
	for _, s := range f.open {
		s.drop()
	}
}

// target returns the writable layer for an action on the given index.
func (f *fileRun) target(ctx context.Context, index int64) (*scratch, error) {
	if index < 0 {
		return f.run.begin("")
	}
	if i := int(index); i < len(f.inputs) {
		chain, err := f.run.realize(ctx, f.inputs[i])
		if err != nil {
			return nil, err
		}
		return f.run.begin(chain)
	}
	s := f.open[int(index)]
	if s == nil {
		return nil, errkind.New(errkind.Unsupported, "the build definition uses one file action's result twice, which is not supported")
	}
	delete(f.open, int(index))
	return s, nil
}

func (f *fileRun) action(ctx context.Context, a *pb.FileAction, s *scratch) error {
	switch act := a.Action.(type) {
	case *pb.FileAction_Copy:
		return f.copy(ctx, a, act.Copy, s)
	case *pb.FileAction_Mkdir:
		o, err := f.owner(act.Mkdir.Owner)
		if err != nil {
			return err
		}
		return fileop.Mkdir(s.root, act.Mkdir.Path, os.FileMode(act.Mkdir.Mode)&0o777, act.Mkdir.MakeParents, o, timestamp(act.Mkdir.Timestamp))
	case *pb.FileAction_Mkfile:
		o, err := f.owner(act.Mkfile.Owner)
		if err != nil {
			return err
		}
		return fileop.Mkfile(s.root, act.Mkfile.Path, act.Mkfile.Data, os.FileMode(act.Mkfile.Mode)&0o777, o, timestamp(act.Mkfile.Timestamp))
	case *pb.FileAction_Symlink:
		o, err := f.owner(act.Symlink.Owner)
		if err != nil {
			return err
		}
		return fileop.Symlink(s.root, act.Symlink.Oldpath, act.Symlink.Newpath, o, timestamp(act.Symlink.Timestamp))
	case *pb.FileAction_Rm:
		return fileop.Remove(s.root, act.Rm.Path, act.Rm.AllowWildcard, act.Rm.AllowNotFound)
	}
	return errkind.New(errkind.Unsupported, "the build definition holds a file action that this version does not know")
}

func (f *fileRun) copy(ctx context.Context, a *pb.FileAction, c *pb.FileActionCopy, s *scratch) error {
	from := Result{}
	if i := int(a.SecondaryInput); i >= len(f.inputs) {
		return errkind.New(errkind.Unsupported, "the build definition copies from another file action, which is not supported")
	} else if i >= 0 {
		from = f.inputs[i]
	}
	src, done, err := f.run.open(from)
	if err != nil {
		return err
	}
	defer done()
	o := fileop.CopyOptions{
		ModeText: c.ModeStr, DirContents: c.DirCopyContents, Follow: c.FollowSymlink,
		Unpack: c.AttemptUnpackDockerCompatibility, CreateDest: c.CreateDestPath, Wildcard: c.AllowWildcard,
		AllowEmptyWildcard: c.AllowEmptyWildcard, Replace: c.AlwaysReplaceExistingDestPaths,
		Include: c.IncludePatterns, Exclude: c.ExcludePatterns, Required: c.RequiredPaths, Time: timestamp(c.Timestamp),
	}
	if c.Mode >= 0 {
		m := fileMode(uint32(c.Mode))
		o.Mode = &m
	}
	if o.Owner, err = f.owner(c.Owner); err != nil {
		return err
	}
	err = fileop.Copy(ctx, src, c.Src, s.root, c.Dest, o)
	if errors.Is(err, fileop.ErrSourceMissing) {
		return &MissingSourceError{Path: strings.TrimPrefix(c.Src, "/"), Context: from.Tree != nil}
	}
	return err
}

// MissingSourceError is a copy whose source does not exist.
type MissingSourceError struct {
	Path    string // as in the operation, without the leading slash
	Context bool   // it was looked for in the build context or a download, not in a stage
}

// Error names the source.
func (e *MissingSourceError) Error() string { return "copy: source " + e.Path + " not found" }

// Unwrap gives the error its kind.
func (e *MissingSourceError) Unwrap() error { return errkind.New(errkind.Invalid, "%s", e.Error()) }

// fileMode turns the kernel's permission and set-id bits into Go's.
func fileMode(m uint32) os.FileMode {
	mode := os.FileMode(m & 0o777)
	if m&0o4000 != 0 {
		mode |= os.ModeSetuid
	}
	if m&0o2000 != 0 {
		mode |= os.ModeSetgid
	}
	if m&0o1000 != 0 {
		mode |= os.ModeSticky
	}
	return mode
}

func timestamp(ns int64) *time.Time {
	if ns == -1 {
		return nil
	}
	t := time.Unix(0, ns)
	return &t
}

// maxUserFile bounds /etc/passwd and /etc/group, in bytes.
const maxUserFile = 10 << 20

// owner finds out who --chown means. A user alone brings its group: its own by name, the same number by number.
func (f *fileRun) owner(c *pb.ChownOpt) (*fileop.Owner, error) {
	if c == nil || c.User == nil && c.Group == nil {
		return nil, nil
	}
	o := new(fileop.Owner)
	switch u := c.User.GetUser().(type) {
	case *pb.UserOpt_ByID:
		o.UID, o.GID = int(u.ByID), int(u.ByID)
	case *pb.UserOpt_ByName:
		fields, err := f.lookup(u.ByName, "/etc/passwd", "user")
		if err != nil {
			return nil, err
		}
		o.UID, o.GID = fields[0], fields[1]
	}
	switch g := c.Group.GetUser().(type) {
	case *pb.UserOpt_ByID:
		o.GID = int(g.ByID)
	case *pb.UserOpt_ByName:
		fields, err := f.lookup(g.ByName, "/etc/group", "group")
		if err != nil {
			return nil, err
		}
		o.GID = fields[0]
	}
	return o, nil
}

// lookup finds a name in a user or group file and returns the numbers in its third and fourth field.
func (f *fileRun) lookup(name *pb.NamedUserOpt, file, what string) ([2]int, error) {
	var none [2]int
	unknown := errkind.New(errkind.Invalid, "unable to find %s %s: no matching entries in %s of the image", what, name.Name, file)
	var raw []byte
	var err error
	switch i := int(name.Input); {
	case i < 0:
		return none, unknown
	case i < len(f.inputs):
		t, done, err2 := f.run.open(f.inputs[i])
		if err2 != nil {
			return none, err2
		}
		raw, err = tree.ReadFile(t, file, maxUserFile)
		done()
	case f.open[i] != nil:
		raw, err = fsroot.FromFile(f.open[i].mount).ReadFile(file, maxUserFile)
	default:
		return none, unknown
	}
	if errors.Is(err, fs.ErrNotExist) {
		return none, unknown
	}
	if err != nil {
		return none, err
	}
	for sc := bufio.NewScanner(bytes.NewReader(raw)); sc.Scan(); {
		parts := strings.Split(sc.Text(), ":")
		if parts[0] != name.Name || len(parts) < 3 {
			continue
		}
		var out [2]int
		for i := range out {
			if len(parts) <= 2+i {
				break
			}
			n, err := strconv.ParseUint(parts[2+i], 10, 31)
			if err != nil && i == 0 {
				return none, unknown
			}
			out[i] = int(n)
		}
		return out, nil
	}
	return none, unknown
}
