package api

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/oasdiff/yaml"

	"pier/api/docker"
)

// specification is the published description of the API, ready to check answers against.
type specification struct {
	operations []operation
}

type operation struct {
	method  string
	path    *regexp.Regexp
	generic bool // the path has a variable part
	name    string
	op      *openapi3.Operation
}

var specifications struct {
	sync.Mutex
	byMinor map[int]func() (*specification, error)
}

// loadSpecification returns the description of the newest version, specificationOf that of API 1.minor.
func loadSpecification() (*specification, error) { return specificationOf(docker.MaxVersion.Minor) }

func specificationOf(minor int) (*specification, error) {
	specifications.Lock()
	if specifications.byMinor == nil {
		specifications.byMinor = map[int]func() (*specification, error){}
	}
	load, known := specifications.byMinor[minor]
	if !known {
		load = sync.OnceValues(func() (*specification, error) { return readSpecification(minor) })
		specifications.byMinor[minor] = load
	}
	specifications.Unlock()
	return load()
}

// moduleDir is where the sources and descriptions of the published API are.
var moduleDir = sync.OnceValues(func() (string, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/moby/api").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(dir)), nil
})

func readSpecification(minor int) (*specification, error) {
	dir, err := moduleDir()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "docs", fmt.Sprintf("v1.%d.yaml", minor)))
	if err != nil {
		return nil, err
	}
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	var v2 openapi2.T
	if err := json.Unmarshal(data, &v2); err != nil {
		return nil, err
	}
	v3, err := openapi2conv.ToV3(&v2)
	if err != nil {
		return nil, err
	}
	if err := openapi3.NewLoader().ResolveRefsIn(v3, nil); err != nil {
		return nil, err
	}
	s := &specification{}
	variable := regexp.MustCompile(`\{[^}]*\}`)
	for path, item := range v3.Paths.Map() {
		for method, op := range item.Operations() {
			pattern := "^" + variable.ReplaceAllString(path, "(.+)") + "$"
			s.operations = append(s.operations, operation{method, regexp.MustCompile(pattern), strings.Contains(path, "{"), method + " " + path, op})
		}
	}
	for _, schema := range v3.Components.Schemas {
		mend(schema, map[*openapi3.Schema]bool{})
	}
	for _, o := range s.operations {
		for _, r := range o.op.Responses.Map() {
			for _, m := range r.Value.Content {
				mend(m.Schema, map[*openapi3.Schema]bool{})
			}
		}
	}
	return s, nil
}

// mend repairs what the description gets wrong about itself, for all schemas alike.
//
//   - A field without a value is null in Docker's own answers (nil slices, maps and pointers of Go), where the
//     description says "x-nullable" for a few of them only. Null is accepted wherever a list, a map or an object is
//     described; scalars stay strict.
//   - So it is for the scalars in nullable, which are pointers in the published types.
func mend(ref *openapi3.SchemaRef, seen map[*openapi3.Schema]bool) {
	if ref == nil || ref.Value == nil || seen[ref.Value] {
		return
	}
	s := ref.Value
	seen[s] = true
	if s.Type.Is("array") || s.Type.Is("object") || len(s.AllOf) > 0 {
		s.Nullable = true
	}
	mend(s.Items, seen)
	mend(s.AdditionalProperties.Schema, seen)
	for name, p := range s.Properties {
		mend(p, seen)
		if slices.Contains(nullable, name) && p.Value != nil {
			p.Value.Nullable = true
		}
	}
	for _, p := range s.AllOf {
		mend(p, seen)
	}
}

// nullable are fields whose published Go type is a pointer to a scalar and which Docker leaves null.
var nullable = []string{"MemorySwappiness", "OomKillDisable", "PidsLimit", "Init", "ExitCode"}

// find returns the operation for a path without version; the one without variables wins.
func (s *specification) find(method, path string) *operation {
	var found *operation
	for i, o := range s.operations {
		if o.method == method && o.path.MatchString(path) && (found == nil || found.generic && !o.generic) {
			found = &s.operations[i]
		}
	}
	return found
}

// check reports where an answer differs from its description: an undocumented status, or a body that does not fit.
func (s *specification) check(method, path string, status int, contentType string, body []byte) error {
	o := s.find(method, path)
	if o == nil && strings.Contains(path, "/checkpoints") {
		return nil // see undescribed
	}
	if o == nil {
		return fmt.Errorf("%s %s is not in the description", method, path)
	}
	response := o.op.Responses.Status(status)
	if response == nil {
		if undocumented[status] != "" {
			return nil
		}
		return fmt.Errorf("%s: status %d is not documented: %s", o.name, status, body)
	}
	if len(response.Value.Content) == 0 {
		return nil
	}
	if status == 204 && len(body) > 0 {
		return fmt.Errorf("%s: a body with status 204: %s", o.name, body)
	}
	media := response.Value.Content.Get("application/json")
	if media == nil || media.Schema == nil || !strings.HasPrefix(contentType, "application/json") {
		return nil
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return fmt.Errorf("%s: %w in %s", o.name, err, body)
	}
	if err := media.Schema.Value.VisitJSON(value, openapi3.MultiErrors()); err != nil {
		return fmt.Errorf("%s: status %d: %w\nbody: %s", o.name, status, err, body)
	}
	return nil
}

// undocumented are statuses that Docker gives without a word in the description, and so does Pier.
var undocumented = map[int]string{
	400: "bad arguments, missing in many operations",
	404: "an unknown volume driver",
	409: "conflicts of state, missing for kill, resize and others",
	413: "a body over its limit",
	501: "operations that this version does not serve",
	503: "swarm operations outside a swarm",
}

func TestSpecificationLoads(t *testing.T) {
	s, err := loadSpecification()
	if err != nil {
		t.Fatal(err)
	}
	if len(s.operations) < 100 {
		t.Errorf("%d operations", len(s.operations))
	}
	if err := s.check("GET", "/volumes/x", 200, "application/json", []byte(`{"Name":"x","Driver":"local","Mountpoint":"/x","Labels":{},"Options":null,"Scope":"local"}`)); err != nil {
		t.Error(err)
	}
	if err := s.check("GET", "/volumes/x", 200, "application/json", []byte(`{"Name":7}`)); err == nil {
		t.Error("a wrong answer passes")
	}
}
