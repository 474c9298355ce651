package solve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/proto"

	"pier/daemon/build/internal/graph"
	"pier/daemon/build/internal/tree"
)

// keyVersion changes whenever the same operation would give another result than before.
const keyVersion = "pier-1"

// keys are the names of a vertex's result in the cache.
type keys struct {
	// fast is made of the identities of the inputs, layers as a whole.
	fast string
	// slow is made of the contents that the operation takes from inputs it only reads, so that a changed input whose
	// relevant files are the same still hits. Nil where it would be the same as fast.
	slow func(context.Context) (string, error)
}

// use says how an operation uses one of its inputs.
type use struct {
	whole      bool // its result builds on the input
	selections []tree.Selection
}

// keys makes the keys of an exec or file operation.
func (r *run) keys(v *graph.Vertex, inputs []Result) (keys, error) {
	op, uses := describe(v)
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(op)
	if err != nil {
		return keys{}, err
	}
	platform := ""
	if p := v.Op.Platform; p != nil {
		platform = p.OS + "/" + p.Architecture + "/" + p.Variant
	}
	parts := []string{keyVersion, platform, string(raw)}
	identities := make([]string, len(inputs))
	var byContent []int
	for i, in := range inputs {
		switch {
		case in.Tree != nil:
			if identities[i], err = contents(context.Background(), in.Tree, uses[i]); err != nil {
				return keys{}, err
			}
		default:
			identities[i] = "layers " + in.Chain.String()
			if !uses[i].whole && len(uses[i].selections) > 0 {
				byContent = append(byContent, i)
			}
		}
	}
	k := keys{fast: hashKey(append(parts, identities...))}
	if len(byContent) == 0 {
		return k, nil
	}
	k.slow = func(ctx context.Context) (string, error) {
		for _, i := range byContent {
			t, done, err := r.open(inputs[i])
			if err != nil {
				return "", err
			}
			identities[i], err = contents(ctx, t, uses[i])
			done()
			if err != nil {
				return "", err
			}
		}
		return hashKey(append(parts, identities...)), nil
	}
	return k, nil
}

func hashKey(parts []string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:", len(p))
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// contents hashes what an operation takes from t. What is missing there has a digest too: the operation itself will say
// that it is missing.
func contents(ctx context.Context, t tree.Tree, u use) (string, error) {
	selections := u.selections
	if u.whole {
		selections = []tree.Selection{{Path: "/"}}
	}
	s := "contents"
	for _, sel := range selections {
		sum, err := tree.Digest(ctx, t, sel)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s += " missing"
		case err != nil:
			return "", err
		default:
			s += " " + hex.EncodeToString(sum[:])
		}
	}
	return s, nil
}

// describe returns the part of the operation that its result depends on, and how it uses its inputs.
func describe(v *graph.Vertex) (proto.Message, []use) {
	uses := make([]use, len(v.Inputs))
	whole := func(i int64) {
		if i >= 0 && int(i) < len(uses) {
			uses[i].whole = true
		}
	}
	switch op := v.Op.Op.(type) {
	case *pb.Op_Exec:
		e := op.Exec.CloneVT()
		e.Meta.ProxyEnv = nil
		e.Meta.CgroupParent = ""
		for _, m := range e.Mounts {
			if m.MountType == pb.MountType_BIND && m.Output < 0 && m.Dest != "/" && m.Input >= 0 {
				uses[m.Input].selections = append(uses[m.Input].selections, tree.Selection{Path: m.Selector, Follow: true})
				continue
			}
			if m.MountType == pb.MountType_BIND || m.MountType == pb.MountType_CACHE {
				whole(m.Input)
			}
		}
		return e, uses
	case *pb.Op_File:
		for _, a := range op.File.Actions {
			whole(a.Input)
			owner := (*pb.ChownOpt)(nil)
			switch act := a.Action.(type) {
			case *pb.FileAction_Copy:
				owner = act.Copy.Owner
				if i := a.SecondaryInput; i >= 0 && int(i) < len(uses) {
					uses[i].selections = append(uses[i].selections, tree.Selection{
						Path: act.Copy.Src, Follow: act.Copy.FollowSymlink, Wildcard: act.Copy.AllowWildcard,
						Include: act.Copy.IncludePatterns, Exclude: act.Copy.ExcludePatterns,
					})
				}
			case *pb.FileAction_Mkfile:
				owner = act.Mkfile.Owner
			case *pb.FileAction_Mkdir:
				owner = act.Mkdir.Owner
			case *pb.FileAction_Symlink:
				owner = act.Symlink.Owner
			}
			for _, u := range []*pb.UserOpt{owner.GetUser(), owner.GetGroup()} {
				if name, ok := u.GetUser().(*pb.UserOpt_ByName); ok {
					whole(name.ByName.Input)
				}
			}
		}
		return op.File, uses
	}
	return v.Op, uses
}
