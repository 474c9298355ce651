package graph

import (
	"context"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"

	"pier/lib/errkind"
)

// define packs operations and a last one that points to the last of them.
func define(t testing.TB, ops ...*pb.Op) *pb.Definition {
	t.Helper()
	def := &pb.Definition{}
	add := func(op *pb.Op) string {
		raw, err := proto.Marshal(op)
		if err != nil {
			t.Fatal(err)
		}
		def.Def = append(def.Def, raw)
		return digest.FromBytes(raw).String()
	}
	last := ""
	for _, op := range ops {
		for _, in := range op.Inputs {
			if in.Digest == "prev" {
				in.Digest = last
			}
		}
		last = add(op)
	}
	add(&pb.Op{Inputs: []*pb.Input{{Digest: last}}})
	return def
}

func in() []*pb.Input { return []*pb.Input{{Digest: "prev"}} }

func source() *pb.Op {
	return &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "docker-image://x"}}}
}

func exec(change func(*pb.ExecOp)) *pb.Op {
	e := &pb.ExecOp{Meta: &pb.Meta{Args: []string{"true"}, Cwd: "/"}, Mounts: []*pb.Mount{{Dest: "/"}}}
	change(e)
	return &pb.Op{Inputs: in(), Op: &pb.Op_Exec{Exec: e}}
}

func fileOp(a ...*pb.FileAction) *pb.Op {
	return &pb.Op{Inputs: in(), Op: &pb.Op_File{File: &pb.FileOp{Actions: a}}}
}

func TestMalformed(t *testing.T) {
	mount := func(m *pb.Mount) *pb.Op { return exec(func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, m) }) }
	for name, c := range map[string]struct {
		def  *pb.Definition
		kind errkind.Kind
	}{
		"garbage":           {&pb.Definition{Def: [][]byte{[]byte("nonsense")}}, errkind.Invalid},
		"no result":         {&pb.Definition{Def: [][]byte{{}}}, errkind.Invalid},
		"unknown input":     {define(t, &pb.Op{Inputs: []*pb.Input{{Digest: "sha256:x"}}, Op: source().Op}), errkind.Invalid},
		"no kind":           {define(t, &pb.Op{}), errkind.Unsupported},
		"nested build":      {define(t, &pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{}}}), errkind.Unsupported},
		"passthrough":       {define(t, &pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{}}}), errkind.Unsupported},
		"source nothing":    {define(t, &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{}}}), errkind.Invalid},
		"exec no meta":      {define(t, source(), exec(func(e *pb.ExecOp) { e.Meta = nil })), errkind.Invalid},
		"exec no args":      {define(t, source(), exec(func(e *pb.ExecOp) { e.Meta.Args = nil })), errkind.Invalid},
		"exec relative cwd": {define(t, source(), exec(func(e *pb.ExecOp) { e.Meta.Cwd = "x" })), errkind.Invalid},
		"exec no root":      {define(t, source(), exec(func(e *pb.ExecOp) { e.Mounts[0].Dest = "/x" })), errkind.Invalid},
		"exec two roots":    {define(t, source(), mount(&pb.Mount{Dest: "//", Output: 1})), errkind.Invalid},
		"exec bad input":    {define(t, source(), mount(&pb.Mount{Dest: "/x", Input: 7, Output: -1})), errkind.Invalid},
		"exec huge output":  {define(t, source(), mount(&pb.Mount{Dest: "/x", Output: 1 << 40})), errkind.Invalid},
		"exec same output":  {define(t, source(), mount(&pb.Mount{Dest: "/x", Output: 0})), errkind.Invalid},
		"exec bad mount":    {define(t, source(), mount(&pb.Mount{Dest: "/x", Output: -1, MountType: 77})), errkind.Invalid},
		"exec bad sharing":  {define(t, source(), mount(&pb.Mount{Dest: "/x", Output: -1, MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{Sharing: 9}})), errkind.Invalid},
		"exec cache no opt": {define(t, source(), mount(&pb.Mount{Dest: "/x", Output: -1, MountType: pb.MountType_CACHE})), errkind.Invalid},
		"exec secret":       {define(t, source(), mount(&pb.Mount{Dest: "/x", MountType: pb.MountType_SECRET})), errkind.Invalid},
		"exec network":      {define(t, source(), exec(func(e *pb.ExecOp) { e.Network = 42 })), errkind.Invalid},
		"exec insecure":     {define(t, source(), exec(func(e *pb.ExecOp) { e.Security = pb.SecurityMode_INSECURE })), errkind.Forbidden},
		"exec security":     {define(t, source(), exec(func(e *pb.ExecOp) { e.Security = 2 })), errkind.Invalid},
		"exec device":       {define(t, source(), exec(func(e *pb.ExecOp) { e.CdiDevices = []*pb.CDIDevice{{}} })), errkind.Unsupported},
		"file nothing":      {define(t, source(), fileOp()), errkind.Invalid},
		"file no action":    {define(t, source(), fileOp(&pb.FileAction{})), errkind.Invalid},
		"file bad input":    {define(t, source(), fileOp(&pb.FileAction{Input: 9, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/x"}}})), errkind.Invalid},
		"file negative":     {define(t, source(), fileOp(&pb.FileAction{Input: -2, Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/x"}}})), errkind.Invalid},
		"file rm all":       {define(t, source(), fileOp(&pb.FileAction{Action: &pb.FileAction_Rm{Rm: &pb.FileActionRm{Path: "/x/.."}}})), errkind.Invalid},
		"file owner input": {define(t, source(), fileOp(&pb.FileAction{Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/x",
			Owner: &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: "x", Input: 99}}}}}}})), errkind.Invalid},
		"merge":      {define(t, source(), &pb.Op{Inputs: in(), Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 3}}}}}), errkind.Invalid},
		"diff":       {define(t, source(), &pb.Op{Inputs: in(), Op: &pb.Op_Diff{Diff: &pb.DiffOp{}}}), errkind.Invalid},
		"bad output": {define(t, source(), &pb.Op{Inputs: []*pb.Input{{Digest: "prev", Index: 3}}, Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{}}}}}), errkind.Invalid},
	} {
		g, err := Parse(c.def)
		if err == nil || errkind.Of(err) != c.kind {
			t.Errorf("%s: %v, error %v, want kind %s", name, g, err, c.kind)
		}
	}
}

func TestParse(t *testing.T) {
	st := llb.Image("busybox").Run(llb.Shlex("a"), llb.WithCustomName("first")).Root()
	st = llb.Merge([]llb.State{st, llb.Scratch().File(llb.Mkfile("/x", 0o600, []byte("x")))})
	def, err := st.Marshal(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	g, err := Parse(def.ToPB())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[*Vertex]bool{}
	var names []string
	for _, v := range g.Vertices {
		for _, in := range v.Inputs {
			if !seen[in.Vertex] {
				t.Errorf("%s comes before its input", v.Name)
			}
		}
		seen[v] = true
		names = append(names, v.Name)
	}
	if len(g.Vertices) != 4 || !strings.Contains(strings.Join(names, " "), "first") || g.Result.Vertex != g.Vertices[3] {
		t.Errorf("%q", names)
	}
	if g, err := Parse(nil); err != nil || g.Result.Vertex != nil {
		t.Error("an empty definition is an empty file system:", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, def := range []*pb.Definition{
		define(f, source(), exec(func(*pb.ExecOp) {})),
		define(f, source(), fileOp(&pb.FileAction{Action: &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/x"}}})),
	} {
		raw, err := proto.Marshal(def)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		def := new(pb.Definition)
		if proto.Unmarshal(raw, def) != nil {
			return
		}
		g, err := Parse(def)
		if err == nil && g.Result.Vertex != nil && len(g.Vertices) == 0 {
			t.Error("a result without vertices")
		}
	})
}
