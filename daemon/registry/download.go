package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"pier/daemon/store/blob"
	"pier/lib/errkind"
)

const (
	parallelFrom = 16 << 20 // bytes still missing from which on a blob comes in parallel
	chunkSize    = 4 << 20
	chunkWorkers = 4
	maxAttempts  = 6 // without any progress between them
	progressStep = 256 << 10
)

// Fetch downloads the blob d into store, unless it is there. A download that broke off, in this life of the process or
// an earlier one, goes on where it ended; lost connections are tried again; large blobs come in several ranges at once.
// The digest is computed while the bytes come in, and a blob that does not have it is never stored (Invalid). report, if
// not nil, gets the bytes present after each piece, from one goroutine at a time.
func (s *Session) Fetch(ctx context.Context, store *blob.Store, d ocispec.Descriptor, report func(done int64)) error {
	if report == nil {
		report = func(int64) {}
	}
	if size, err := store.Size(d.Digest); err == nil {
		report(size)
		return nil
	}
	in, err := begin(ctx, store, d)
	if err != nil {
		return err
	}
	defer in.Close()
	if in.Size() > d.Size {
		if err := in.Reset(); err != nil {
			return err
		}
	}
	f := &fetch{session: s, in: in, d: d, report: report, told: -progressStep}
	for attempt := 0; in.Size() < d.Size; attempt++ {
		before := in.Size()
		err := f.more(ctx)
		if in.Size() > before {
			attempt = 0
		}
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errkind.Is(err, errkind.Unavailable) || attempt == maxAttempts {
			return fmt.Errorf("download %s: %w", d.Digest, err)
		}
		select {
		case <-time.After(100 * time.Millisecond << attempt):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	report(in.Size())
	return in.Commit(d.Digest)
}

// begin opens the ingest; where another download of the same blob runs, it waits for its end.
func begin(ctx context.Context, store *blob.Store, d ocispec.Descriptor) (*blob.Ingest, error) {
	for {
		in, err := store.Resume(d.Digest)
		if !errkind.Is(err, errkind.Conflict) {
			return in, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// fetch is one download under way.
type fetch struct {
	session *Session
	in      *blob.Ingest
	d       ocispec.Descriptor
	report  func(int64)
	told    int64
	whole   bool // the registry does not serve ranges
}

// more gets as much as it can. nil with bytes missing means to go on.
func (f *fetch) more(ctx context.Context) error {
	if f.d.Size-f.in.Size() > parallelFrom && !f.whole {
		return f.parallel(ctx)
	}
	resp, err := f.ask(ctx, f.in.Size(), f.d.Size)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if f.whole && f.in.Size() > 0 { // it began anew, so do we
		if err := f.in.Reset(); err != nil {
			return err
		}
	}
	_, err = io.Copy(writeFunc(f.write), io.LimitReader(resp.Body, f.d.Size-f.in.Size()))
	if err == nil && f.in.Size() < f.d.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !errkind.Is(err, errkind.Exhausted) {
		return unreachable(ctx, f.session.scoped.Registry, err)
	}
	return err
}

// ask requests the bytes [from, to). It notes where the registry answers with the whole blob instead.
func (f *fetch) ask(ctx context.Context, from, to int64) (*http.Response, error) {
	header := http.Header{}
	partial := from > 0 || to < f.d.Size
	if partial {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	}
	resp, err := f.session.get(ctx, "/blobs/"+f.d.Digest.String(), header)
	if err != nil {
		return nil, err
	}
	switch {
	case partial && resp.StatusCode == http.StatusPartialContent &&
		strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", from)):
		return resp, nil
	case resp.StatusCode == http.StatusOK:
		f.whole = partial
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, f.session.refused(resp, "blob "+f.d.Digest.String())
}

func (f *fetch) write(p []byte) (int, error) {
	n, err := f.in.Write(p)
	if f.in.Size()-f.told >= progressStep {
		f.told = f.in.Size()
		f.report(f.told)
	}
	return n, err
}

type writeFunc func([]byte) (int, error)

func (w writeFunc) Write(p []byte) (int, error) { return w(p) }

// chunk is one range under way. Its bytes are in data when done is closed.
type chunk struct {
	from, to int64
	data     []byte
	err      error
	done     chan struct{}
}

// parallel gets the rest in chunks, several at a time, and appends them in order: what is stored is always a beginning
// of the blob, so that it can be gone on with after any failure.
func (f *fetch) parallel(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan *chunk, chunkWorkers-1) // with the one being waited for: chunkWorkers in memory
	go func() {
		defer close(queue)
		for from := f.in.Size(); from < f.d.Size; from += chunkSize {
			c := &chunk{from: from, to: min(from+chunkSize, f.d.Size), done: make(chan struct{})}
			go func() {
				defer close(c.done)
				c.data, c.err = f.chunk(ctx, c.from, c.to)
			}()
			select {
			case queue <- c:
			case <-ctx.Done():
				<-c.done
				return
			}
		}
	}()
	var failed error
	for c := range queue { // to its end, so that no goroutine is left behind
		<-c.done
		if failed == nil {
			failed = c.err
		}
		if failed == nil {
			_, failed = f.write(c.data)
		}
		if failed != nil {
			cancel()
		}
	}
	if errors.Is(failed, errNoRanges) {
		f.whole = true
		return nil
	}
	return failed
}

var errNoRanges = errors.New("the registry does not serve ranges")

func (f *fetch) chunk(ctx context.Context, from, to int64) ([]byte, error) {
	part := &fetch{session: f.session, d: f.d}
	resp, err := part.ask(ctx, from, to)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if part.whole {
		return nil, errNoRanges
	}
	data := make([]byte, to-from)
	if _, err := io.ReadFull(resp.Body, data); err != nil {
		return nil, unreachable(ctx, f.session.scoped.Registry, err)
	}
	return data, nil
}
