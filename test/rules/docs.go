package rules

import (
	"go/ast"
	"go/token"
	"regexp"
	"strings"
)

// PackageDoc wants every package documented, the last sentence saying where to start reading; a program (package main)
// only documented.
func PackageDoc(t *Tree) []Violation {
	start := regexp.MustCompile(`(?:^|\s)Start reading at [^.\s][^\n]*\.$`)
	var out []Violation
	for _, folder := range t.Folders {
		files := folder.source()
		if len(files) == 0 {
			continue
		}
		var doc string
		for _, file := range files {
			if file.AST.Doc != nil {
				doc = file.AST.Doc.Text()
			}
		}
		position := t.at(files[0].AST.Package)
		switch {
		case doc == "":
			out = append(out, Violation{position, "package doc", folder.Path + " has no package documentation: a reader does not know what it is for", "write it in doc.go"})
		case files[0].AST.Name.Name != "main" && !start.MatchString(strings.TrimSpace(doc)):
			out = append(out, Violation{position, "package doc", "the documentation of " + folder.Path + " does not say where to begin", `end it with "Start reading at X."`})
		}
	}
	return out
}

// Documented wants a comment on every exported name at package level and on every exported method of an exported type.
// In a group one comment for all will do. Error and Unwrap explain themselves.
func Documented(t *Tree) []Violation {
	var out []Violation
	missing := func(pos token.Pos, name string) {
		out = append(out, Violation{t.at(pos), "documented", name + " is exported without a comment: its contract is nowhere",
			"say what it does, its units, errors and ownership; or do not export it"})
	}
	for _, folder := range t.Folders {
		for _, file := range folder.source() {
			if file.Generated {
				continue
			}
			for _, decl := range file.AST.Decls {
				switch d := decl.(type) {
				case *ast.FuncDecl:
					if !d.Name.IsExported() || d.Doc != nil {
						continue
					}
					if d.Recv == nil {
						missing(d.Pos(), d.Name.Name)
					} else if name := receiver(d); ast.IsExported(name) && d.Name.Name != "Error" && d.Name.Name != "Unwrap" {
						missing(d.Pos(), name+"."+d.Name.Name)
					}
				case *ast.GenDecl:
					for _, spec := range d.Specs {
						switch s := spec.(type) {
						case *ast.TypeSpec:
							if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
								missing(s.Pos(), s.Name.Name)
							}
						case *ast.ValueSpec:
							for _, name := range s.Names {
								if name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
									missing(name.Pos(), name.Name)
								}
							}
						}
					}
				}
			}
		}
	}
	return out
}
