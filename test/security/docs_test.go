package security

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTablesNameTests: each test that docs/security.md names is there. A name belongs to the folder before it in its cell,
// else to this one.
func TestTablesNameTests(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	words := regexp.MustCompile("`([^`]+)`")
	function := regexp.MustCompile(`(?m)^func (Test\w+)`)
	named := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 { // three, and what is outside of them
			continue
		}
		for part := range strings.SplitSeq(cells[3], ";") {
			folder := "test/security"
			for _, m := range words.FindAllStringSubmatch(part, -1) {
				if strings.Contains(m[1], "/") {
					folder = m[1]
				}
				if !strings.HasPrefix(m[1], "Test") {
					continue
				}
				named++
				files, err := filepath.Glob("../../" + folder + "/*_test.go")
				if err != nil {
					t.Fatal(err)
				}
				found := false
				for _, file := range files {
					source, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					for _, f := range function.FindAllSubmatch(source, -1) {
						found = found || string(f[1]) == m[1]
					}
				}
				if !found {
					t.Errorf("there is no %s in %s", m[1], folder)
				}
			}
		}
	}
	if named < 50 {
		t.Errorf("the tables name %d tests only", named)
	}
}
