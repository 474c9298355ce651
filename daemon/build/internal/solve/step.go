package solve

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"pier/daemon/build/internal/cache"
	"pier/daemon/build/internal/fileop"
	"pier/daemon/build/internal/graph"
	"pier/daemon/build/internal/tree"
	"pier/daemon/image/layer"
	"pier/kernel/fsroot"
	"pier/lib/id"
)

// solve gets the results of v from its source, the cache, or by work.
func (r *run) solve(ctx context.Context, v *graph.Vertex, inputs []Result) ([]Result, error) {
	var do func(context.Context, *graph.Vertex, []Result) ([]Result, error)
	switch op := v.Op.Op.(type) {
	case *pb.Op_Source:
		return r.source(ctx, v, op.Source)
	case *pb.Op_Merge:
		return r.merge(ctx, v, op.Merge, inputs)
	case *pb.Op_Diff:
		return r.diff(ctx, v, op.Diff, inputs)
	case *pb.Op_Exec:
		do = r.exec
	case *pb.Op_File:
		do = r.file
	}
	k, err := r.keys(v, inputs)
	if err != nil {
		return nil, err
	}
	unlock, err := r.s.Cache.Lock(ctx, k.fast)
	if err != nil {
		return nil, err
	}
	defer unlock()
	useCache := !r.job.NoCache && !v.IgnoreCache
	if useCache {
		if e, ok := r.s.Cache.Get(k.fast, r.holder); ok {
			return r.cached(v, e), nil
		}
	}
	var slow string
	if k.slow != nil {
		if slow, err = k.slow(ctx); err != nil {
			return nil, err
		}
		if e, ok := r.s.Cache.Get(slow, r.holder); ok && useCache {
			alias := e
			alias.Size = 0
			if err := r.s.Cache.Add(k.fast, alias); err != nil {
				return nil, err
			}
			return r.cached(v, e), nil
		}
	}
	r.job.Notify(Update{Kind: Started, Vertex: v})
	results, err := do(ctx, v, inputs)
	if err != nil {
		return nil, err
	}
	if err := r.remember(v, k.fast, slow, inputs, results); err != nil {
		return nil, err
	}
	r.job.Notify(Update{Kind: Done, Vertex: v, ID: shortID(results)})
	return results, nil
}

func shortID(results []Result) string {
	if len(results) == 0 {
		return ""
	}
	return id.Short(results[0].Chain.String())
}

func (r *run) cached(v *graph.Vertex, e cache.Entry) []Result {
	results := make([]Result, len(e.Chains))
	for i, chain := range e.Chains {
		results[i] = Result{Chain: chain, Created: e.Created}
	}
	r.job.Notify(Update{Kind: Cached, Vertex: v})
	r.job.Notify(Update{Kind: Done, Vertex: v, ID: shortID(results)})
	return results
}

// remember makes cache entries of results.
func (r *run) remember(v *graph.Vertex, fast, slow string, inputs, results []Result) error {
	e := cache.Entry{Created: time.Now().UTC(), Name: v.Name}
	for i := range results {
		results[i].Created = e.Created
		e.Chains = append(e.Chains, results[i].Chain)
		if slices.ContainsFunc(inputs, func(in Result) bool { return in.Chain == results[i].Chain }) || results[i].Chain == "" {
			continue
		}
		if l, err := r.s.Layers.Get(results[i].Chain); err == nil {
			e.Size += l.Size
		}
	}
	if err := r.s.Cache.Add(fast, e); err != nil {
		return err
	}
	if slow == "" {
		return nil
	}
	e.Size = 0
	return r.s.Cache.Add(slow, e)
}

// hold keeps chain until the build ends.
func (r *run) hold(chain digest.Digest) error { return r.s.Layers.Hold(r.holder, chain) }

// scratch is a writable layer on top of a chain, mounted.
type scratch struct {
	run    *run
	parent digest.Digest
	w      layer.Writable
	mount  *os.File
	root   *fsroot.Root
}

// begin makes a writable layer on parent. Exactly one of commit and drop must follow.
func (r *run) begin(parent digest.Digest) (*scratch, error) {
	w, err := r.s.Layers.NewWritable(r.name())
	if err != nil {
		return nil, err
	}
	m, err := r.s.Layers.Mount(parent, &w, layer.MountOptions{Volatile: true})
	if err != nil {
		_ = r.s.Layers.RemoveWritable(w.ID)
		return nil, err
	}
	return &scratch{run: r, parent: parent, w: w, mount: m, root: fsroot.FromFile(m)}, nil
}

// unmount ends the mount, so that the upper folder is whole.
func (s *scratch) unmount() {
	if s.mount != nil {
		_ = s.mount.Close()
		s.mount = nil
	}
}

// drop throws the changes away. It does nothing after commit.
func (s *scratch) drop() {
	s.unmount()
	if s.w.ID == "" {
		return
	}
	if err := s.run.s.Layers.RemoveWritable(s.w.ID); err != nil {
		s.run.s.Log.Warn("remove writable layer of a build", "id", s.w.ID, "error", err)
	}
	s.w.ID = ""
}

// commit makes the changes a layer and returns its chain, held until the build ends.
func (s *scratch) commit(ctx context.Context) (digest.Digest, error) {
	s.unmount()
	defer s.drop()
	l, err := s.run.s.Layers.Commit(ctx, s.parent, s.w.Upper)
	if err != nil {
		return "", err
	}
	return l.ChainID, s.run.hold(l.ChainID)
}

// open returns the files of a result for reading. The caller closes it.
func (r *run) open(res Result) (tree.Tree, func(), error) {
	switch {
	case res.Tree != nil:
		return res.Tree, func() {}, nil
	case res.Chain == "":
		return tree.Empty{}, func() {}, nil
	}
	m, err := r.s.Layers.Mount(res.Chain, nil, layer.MountOptions{ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	d := tree.NewDir(m)
	return d, func() { _ = d.Close() }, nil
}

// realize makes layers of a result that is in none yet.
func (r *run) realize(ctx context.Context, res Result) (digest.Digest, error) {
	if res.Tree == nil {
		return res.Chain, nil
	}
	r.mu.Lock()
	chain, ok := r.realized[res.Tree]
	r.mu.Unlock()
	if ok {
		return chain, nil
	}
	s, err := r.begin("")
	if err != nil {
		return "", err
	}
	defer s.drop()
	err = fileop.Copy(ctx, res.Tree, "/", s.root, "/", fileop.CopyOptions{DirContents: true, CreateDest: true})
	if err != nil {
		return "", err
	}
	if chain, err = s.commit(ctx); err != nil {
		return "", err
	}
	r.mu.Lock()
	r.realized[res.Tree] = chain
	r.mu.Unlock()
	return chain, nil
}
