package graph

import (
	"path"

	"github.com/moby/buildkit/solver/pb"

	"pier/lib/errkind"
)

// check refuses an operation that the solver could stumble over. Whatever passes has all its parts.
func check(op *pb.Op) error {
	n := int64(len(op.Inputs))
	switch o := op.Op.(type) {
	case *pb.Op_Source:
		if o.Source == nil || o.Source.Identifier == "" || n != 0 {
			return invalid("bad source operation")
		}
		return nil
	case *pb.Op_Exec:
		return checkExec(o.Exec, n)
	case *pb.Op_File:
		return checkFile(o.File, n)
	case *pb.Op_Merge:
		if o.Merge == nil || int64(len(o.Merge.Inputs)) != n || n == 0 {
			return invalid("bad merge operation")
		}
		for _, in := range o.Merge.Inputs {
			if in == nil || !isInput(in.Input, n) {
				return invalid("bad merge operation")
			}
		}
		return nil
	case *pb.Op_Diff:
		if o.Diff == nil || o.Diff.Lower == nil || o.Diff.Upper == nil || !isInputOrNone(o.Diff.Lower.Input, n) || !isInputOrNone(o.Diff.Upper.Input, n) {
			return invalid("bad diff operation")
		}
		return nil
	case *pb.Op_Build:
		return errkind.New(errkind.Unsupported, "the build definition holds a nested build, which is not supported")
	}
	return errkind.New(errkind.Unsupported, "the build definition holds an operation that this version does not know")
}

func isInput(i, n int64) bool       { return i >= 0 && i < n }
func isInputOrNone(i, n int64) bool { return i == -1 || isInput(i, n) }

func checkExec(e *pb.ExecOp, n int64) error {
	if e == nil || e.Meta == nil || len(e.Meta.Args) == 0 || len(e.Mounts) == 0 || len(e.Mounts) > maxInputs {
		return invalid("bad exec operation")
	}
	if !path.IsAbs(e.Meta.Cwd) {
		return invalid("working directory %q is not absolute", e.Meta.Cwd)
	}
	switch e.Network {
	case pb.NetMode_UNSET, pb.NetMode_HOST, pb.NetMode_NONE:
	default:
		return invalid("unknown network mode %d", e.Network)
	}
	switch e.Security {
	case pb.SecurityMode_SANDBOX:
	case pb.SecurityMode_INSECURE:
		return errkind.New(errkind.Forbidden, "RUN --security=insecure is not allowed")
	default:
		return invalid("unknown security mode %d", e.Security)
	}
	if len(e.CdiDevices) > 0 {
		return errkind.New(errkind.Unsupported, "RUN --device is not supported")
	}
	for _, h := range e.Meta.ExtraHosts {
		if h == nil {
			return invalid("bad host entry")
		}
	}
	for _, u := range e.Meta.Ulimit {
		if u == nil || u.Name == "" {
			return invalid("bad ulimit")
		}
	}
	for _, s := range e.Secretenv {
		if s == nil || s.Name == "" {
			return invalid("bad secret")
		}
	}
	seen := map[int64]bool{}
	roots := 0
	for _, m := range e.Mounts {
		if err := checkMount(m, n); err != nil {
			return err
		}
		if m.MountType == pb.MountType_BIND && m.Output >= 0 {
			if seen[m.Output] {
				return invalid("two mounts with output %d", m.Output)
			}
			seen[m.Output] = true
		}
		if path.Clean(m.Dest) == "/" {
			roots++
		}
	}
	if roots != 1 {
		return invalid("exec operation with %d root file systems", roots)
	}
	return nil
}

func checkMount(m *pb.Mount, n int64) error {
	if m == nil || m.Output < -1 || m.Output > maxInputs {
		return invalid("bad mount")
	}
	// Only these two show an input; frontends leave the field of the others as it is.
	if m.MountType == pb.MountType_BIND || m.MountType == pb.MountType_CACHE {
		if !isInputOrNone(m.Input, n) {
			return invalid("bad mount")
		}
	}
	if !path.IsAbs(m.Dest) {
		return invalid("mount point %q is not absolute", m.Dest)
	}
	root := path.Clean(m.Dest) == "/"
	switch m.MountType {
	case pb.MountType_BIND:
	case pb.MountType_CACHE:
		if m.CacheOpt == nil || root {
			return invalid("bad cache mount")
		}
		switch m.CacheOpt.Sharing {
		case pb.CacheSharingOpt_SHARED, pb.CacheSharingOpt_PRIVATE, pb.CacheSharingOpt_LOCKED:
		default:
			return invalid("unknown sharing mode %d", m.CacheOpt.Sharing)
		}
	case pb.MountType_TMPFS:
		if root || m.TmpfsOpt != nil && m.TmpfsOpt.Size < 0 {
			return invalid("bad tmpfs mount")
		}
	case pb.MountType_SECRET:
		if m.SecretOpt == nil || root {
			return invalid("bad secret mount")
		}
	case pb.MountType_SSH:
		if m.SSHOpt == nil || root {
			return invalid("bad ssh mount")
		}
	default:
		return invalid("unknown kind of mount %d", m.MountType)
	}
	return nil
}

func checkFile(f *pb.FileOp, n int64) error {
	if f == nil || len(f.Actions) == 0 || len(f.Actions) > maxInputs {
		return invalid("bad file operation")
	}
	seen := map[int64]bool{}
	for i, a := range f.Actions {
		if a == nil {
			return invalid("bad file action")
		}
		// An index below n is an input, above it the result of an earlier action.
		limit := n + int64(i)
		if !isInputOrNone(a.Input, limit) || !isInputOrNone(a.SecondaryInput, limit) || a.Output < -1 || a.Output > maxInputs {
			return invalid("bad index in a file action")
		}
		if a.Output >= 0 && seen[a.Output] {
			return invalid("two file actions with output %d", a.Output)
		}
		seen[a.Output] = true
		owner, ok := (*pb.ChownOpt)(nil), false
		switch act := a.Action.(type) {
		case *pb.FileAction_Copy:
			if ok = act.Copy != nil && act.Copy.Mode >= -1; ok {
				owner = act.Copy.Owner
			}
		case *pb.FileAction_Mkfile:
			if ok = act.Mkfile != nil && act.Mkfile.Path != ""; ok {
				owner = act.Mkfile.Owner
			}
		case *pb.FileAction_Mkdir:
			if ok = act.Mkdir != nil && act.Mkdir.Path != ""; ok {
				owner = act.Mkdir.Owner
			}
		case *pb.FileAction_Rm:
			ok = act.Rm != nil && path.Clean("/"+act.Rm.Path) != "/"
		case *pb.FileAction_Symlink:
			if ok = act.Symlink != nil && act.Symlink.Newpath != ""; ok {
				owner = act.Symlink.Owner
			}
		}
		if !ok {
			return invalid("bad file action")
		}
		for _, u := range []*pb.UserOpt{owner.GetUser(), owner.GetGroup()} {
			if name, ok := u.GetUser().(*pb.UserOpt_ByName); ok && (name.ByName == nil || !isInputOrNone(name.ByName.Input, limit)) {
				return invalid("bad owner in a file action")
			}
		}
	}
	return nil
}
