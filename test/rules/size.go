package rules

import (
	"fmt"
	"go/ast"
)

// How large things may grow.
const (
	MaxFileLines    = 600
	MaxPackageLines = 4000
	MaxInterface    = 5
	MaxDoor         = 15
)

// wideInterfaces may have more than MaxInterface methods: "folder.Name" -> the conformance suite that every
// implementation runs.
var wideInterfaces = map[string]string{}

// Rules are all rules over the source, by name. Dependencies is apart, since it needs the go command.
var Rules = map[string]func(*Tree) []Violation{
	"documented":    Documented,
	"doors":         Doors,
	"fan-out":       FanOut,
	"files":         Files,
	"imports":       Imports,
	"init":          Init,
	"interfaces":    Interfaces,
	"package doc":   PackageDoc,
	"package lines": PackageLines,
	"pairs":         Pairs,
	"state":         State,
}

// Files checks the length of files, tests included; generated ones may be longer.
func Files(t *Tree) []Violation {
	var out []Violation
	for _, folder := range t.Folders {
		for _, file := range folder.Files {
			if file.Lines > MaxFileLines && !file.Generated {
				out = append(out, Violation{fmt.Sprintf("%s:%d", file.Path, MaxFileLines+1), "files",
					fmt.Sprintf("%d lines are more than %d: a file holds one concept", file.Lines, MaxFileLines), "split it by concept"})
			}
		}
	}
	return out
}

// PackageLines checks the length of packages, tests apart.
func PackageLines(t *Tree) []Violation {
	var out []Violation
	for _, folder := range t.Folders {
		lines := 0
		for _, file := range folder.source() {
			lines += file.Lines
		}
		if lines > MaxPackageLines {
			out = append(out, Violation{folder.Files[0].Path + ":1", "package lines",
				fmt.Sprintf("%s has %d lines, more than %d: nobody reads that in one sitting", folder.Path, lines, MaxPackageLines),
				"move a part with a door of its own into an internal package"})
		}
	}
	return out
}

// Interfaces checks how many methods an interface has. An embedded interface of the same package counts with its
// methods, a foreign one as one.
func Interfaces(t *Tree) []Violation {
	var out []Violation
	for _, folder := range t.Folders {
		declared := make(map[string]*ast.InterfaceType)
		var specs []*ast.TypeSpec
		for _, file := range folder.source() {
			ast.Inspect(file.AST, func(n ast.Node) bool {
				if spec, ok := n.(*ast.TypeSpec); ok {
					if i, ok := spec.Type.(*ast.InterfaceType); ok {
						declared[spec.Name.Name] = i
						specs = append(specs, spec)
					}
				}
				return true
			})
		}
		for _, spec := range specs {
			methods := countMethods(declared[spec.Name.Name], declared, 0)
			if methods <= MaxInterface || wideInterfaces[folder.Path+"."+spec.Name.Name] != "" {
				continue
			}
			out = append(out, Violation{t.at(spec.Pos()), "interfaces",
				fmt.Sprintf("%s has %d methods, more than %d: few will implement it rightly", spec.Name.Name, methods, MaxInterface),
				"use the concrete type, split it, or name its conformance suite in wideInterfaces of test/rules/size.go"})
		}
	}
	return out
}

func countMethods(i *ast.InterfaceType, declared map[string]*ast.InterfaceType, depth int) int {
	count := 0
	for _, field := range i.Methods.List {
		embedded, ok := field.Type.(*ast.Ident)
		switch {
		case len(field.Names) > 0:
			count += len(field.Names)
		case ok && declared[embedded.Name] != nil && depth < 10:
			count += countMethods(declared[embedded.Name], declared, depth+1)
		default:
			if _, union := field.Type.(*ast.BinaryExpr); !union {
				count++
			}
		}
	}
	return count
}

// Doors checks how many exported methods a type has.
func Doors(t *Tree) []Violation {
	var out []Violation
	for _, folder := range t.Folders {
		methods := make(map[string]int)
		for _, file := range folder.source() {
			for _, decl := range file.AST.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok || f.Recv == nil || !f.Name.IsExported() {
					continue
				}
				name := receiver(f)
				if methods[name]++; methods[name] == MaxDoor+1 && ast.IsExported(name) {
					out = append(out, Violation{t.at(f.Pos()), "doors",
						fmt.Sprintf("%s has more than %d exported methods: a door is learned at one look", name, MaxDoor),
						"give a part of them to a type of its own"})
				}
			}
		}
	}
	return out
}

// receiver returns the name of the type that f is a method of.
func receiver(f *ast.FuncDecl) string {
	for expr := f.Recv.List[0].Type; ; {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}
