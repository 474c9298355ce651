package contexts

import (
	"os"
	"slices"
	"strings"

	"pier/client"
	"pier/lib/errkind"
)

// ReadEndpoint reads the fields of --docker: host=URL with ca, cert, key (files) and skip-tls-verify, or from=CONTEXT, where
// usual stands for the context "default". It returns the endpoint and its TLS files by name.
func (s Store) ReadEndpoint(fields []string, usual Endpoint) (Endpoint, map[string][]byte, error) {
	set := map[string]string{}
	for _, f := range strings.Split(strings.Join(fields, ","), ",") {
		key, value, ok := strings.Cut(f, "=")
		if !ok || !slices.Contains([]string{"from", "host", "ca", "cert", "key", "skip-tls-verify"}, key) {
			return Endpoint{}, nil, errkind.New(errkind.Invalid, "unable to create docker endpoint config: unrecognized config key: %s", key)
		}
		set[key] = value
	}
	endpoint, files := Endpoint{Host: set["host"], SkipTLSVerify: set["skip-tls-verify"] == "true"}, map[string][]byte{}
	switch from, copied := set["from"]; {
	case copied && from == Default:
		endpoint = usual
	case copied:
		other, err := s.Get(from)
		if err != nil {
			return Endpoint{}, nil, err
		}
		endpoint = other.Endpoints[Engine]
		if files, err = s.Files(from); err != nil {
			return Endpoint{}, nil, err
		}
	default:
		if _, err := client.New(client.Endpoint{Host: endpoint.Host}); err != nil {
			return Endpoint{}, nil, err
		}
	}
	for _, file := range []string{"ca", "cert", "key"} {
		if set[file] == "" {
			continue
		}
		data, err := os.ReadFile(set[file])
		if err != nil {
			return Endpoint{}, nil, err
		}
		files[file+".pem"] = data
	}
	return endpoint, files, nil
}

// Described is what there is to say of a context.
type Described struct {
	Context
	TLSMaterial map[string][]string
	Storage     struct{ MetadataPath, TLSPath string }
}

// Describe adds to a context where its files are.
func (s Store) Describe(c Context) (Described, error) {
	files, err := s.Files(c.Name)
	if err != nil {
		return Described{}, err
	}
	d := Described{Context: c, TLSMaterial: map[string][]string{}}
	d.Storage.MetadataPath, d.Storage.TLSPath = s.Meta(c.Name), s.TLS(c.Name)
	for file := range files {
		d.TLSMaterial[Engine] = append(d.TLSMaterial[Engine], file)
	}
	slices.Sort(d.TLSMaterial[Engine])
	return d, nil
}
