// Package rules keeps the shape of the source: who may import whom, how large things may grow, what must be documented.
//
// Each rule is a function from the parsed source to its violations. TestRepository applies them all to Pier;
// TestRulesCatch applies each to a small tree in testdata that breaks it on purpose. A rule that is in the way of good
// code is changed here, with its reason, not evaded.
//
// Start reading at Rules.
package rules

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Module is the path of the module whose source is looked at.
const Module = "pier"

// Tree is the parsed source of the module.
type Tree struct {
	Folders []*Folder // by path
	fset    *token.FileSet
}

// Folder is one folder with Go files.
type Folder struct {
	Path  string // "daemon/engine"
	Files []*File
}

// File is one Go file.
type File struct {
	Path      string
	Lines     int
	Test      bool // *_test.go
	Generated bool
	AST       *ast.File
}

// Violation is one place that breaks a rule.
type Violation struct {
	Position string // file:line
	Rule     string
	Reason   string // what is wrong, and why that matters
	Remedy   string
}

// String is the violation on one line.
func (v Violation) String() string {
	return fmt.Sprintf("%s: %s: %s; %s", v.Position, v.Rule, v.Reason, v.Remedy)
}

// Load parses all Go files below the root of fsys but those in testdata, hidden and node_modules folders.
func Load(fsys fs.FS) (*Tree, error) {
	t := &Tree{fset: token.NewFileSet()}
	byPath := make(map[string]*Folder)
	err := fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			if name != "." && (base == "testdata" || base == "node_modules" || strings.HasPrefix(base, ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(t.fset, name, src, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := path.Dir(name)
		if byPath[dir] == nil {
			byPath[dir] = &Folder{Path: dir}
			t.Folders = append(t.Folders, byPath[dir])
		}
		byPath[dir].Files = append(byPath[dir].Files, &File{
			Path: name, Lines: bytes.Count(src, []byte("\n")), Test: strings.HasSuffix(base, "_test.go"),
			Generated: ast.IsGenerated(parsed), AST: parsed,
		})
		return nil
	})
	slices.SortFunc(t.Folders, func(a, b *Folder) int { return strings.Compare(a.Path, b.Path) })
	return t, err
}

func (t *Tree) at(pos token.Pos) string {
	p := t.fset.Position(pos)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// imported is one import: the folder's path for one of this module, else the import path.
type imported struct {
	path string
	own  bool
	pos  token.Pos
	file *File
}

func (f *Folder) imports() []imported {
	var out []imported
	for _, file := range f.Files {
		for _, spec := range file.AST.Imports {
			name := strings.Trim(spec.Path.Value, `"`)
			own, ok := strings.CutPrefix(name, Module+"/")
			if ok {
				name = own
			}
			out = append(out, imported{path: name, own: ok, pos: spec.Pos(), file: file})
		}
	}
	return out
}

// source returns the files that are compiled into programs.
func (f *Folder) source() []*File {
	return slices.DeleteFunc(slices.Clone(f.Files), func(file *File) bool { return file.Test })
}

// below reports whether name is folder or lies in it.
func below(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }

func belowAny(name string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return below(name, f) })
}
