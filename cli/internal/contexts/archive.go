package contexts

import (
	"archive/tar"
	"encoding/json"
	"io"
	"path"

	"pier/lib/errkind"
)

// maxFile bounds one file of an archive, in bytes.
const maxFile = 1 << 20

// Export writes a context with its TLS files as docker does: a tar of meta.json and tls/docker/*.pem.
func (s Store) Export(name string, w io.Writer) error {
	c, err := s.Get(name)
	if err != nil {
		return err
	}
	files, err := s.Files(name)
	if err != nil {
		return err
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	add := func(name string, data []byte, mode int64, kind byte) error {
		if err := t.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: mode, Typeflag: kind}); err != nil {
			return err
		}
		_, err := t.Write(data)
		return err
	}
	if err := add("meta.json", data, 0o644, tar.TypeReg); err != nil {
		return err
	}
	for _, dir := range []string{"tls", path.Join("tls", Engine)} {
		if err := add(dir, nil, 0o700, tar.TypeDir); err != nil {
			return err
		}
	}
	for _, file := range tlsNames() {
		if data, ok := files[file]; ok {
			if err := add(path.Join("tls", Engine, file), data, 0o600, tar.TypeReg); err != nil {
				return err
			}
		}
	}
	return t.Close()
}

// Import makes the context name of an archive that Export wrote. What else the archive holds is refused.
func (s Store) Import(name string, r io.Reader) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if _, err := s.Get(name); err == nil {
		return errkind.New(errkind.Conflict, "context %q already exists", name)
	}
	var c Context
	files, found := map[string][]byte{}, false
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return errkind.New(errkind.Invalid, "import of context %q: %w", name, err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(t, maxFile+1))
		if err != nil || len(data) > maxFile {
			return errkind.New(errkind.Invalid, "import of context %q: %s is cut off or longer than 1 MiB", name, h.Name)
		}
		switch dir, file := path.Split(path.Clean(h.Name)); {
		case h.Typeflag != tar.TypeReg:
			return errkind.New(errkind.Invalid, "import of context %q: %s is no regular file", name, h.Name)
		case dir == "" && file == "meta.json":
			if err := json.Unmarshal(data, &c); err != nil {
				return errkind.New(errkind.Invalid, "import of context %q: meta.json: %w", name, err)
			}
			found = true
		case dir == "tls/"+Engine+"/":
			files[file] = data
		default:
			return errkind.New(errkind.Invalid, "import of context %q: unexpected file %s", name, h.Name)
		}
	}
	if !found {
		return errkind.New(errkind.Invalid, "invalid context: no metadata found")
	}
	c.Name = name
	return s.Put(c, files)
}
