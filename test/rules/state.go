package rules

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
)

// Init finds init functions: they run in every start of every program that links the package, in an order that nobody
// chose.
func Init(t *Tree) []Violation {
	var out []Violation
	for _, folder := range t.Folders {
		for _, file := range folder.source() {
			for _, decl := range file.AST.Decls {
				if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
					out = append(out, Violation{t.at(f.Pos()), "init", "init runs in every start, unasked", "do it in a function that somebody calls, or in a sync.OnceValue"})
				}
			}
		}
	}
	return out
}

// State finds package-level variables that can change, or that cost start time. What may stay:
//
//   - errors made by errors.New, fmt.Errorf or errkind.New
//   - addresses put together by net/netip, which costs nothing
//   - tables and values written as literals, never assigned to, never changed, their address never taken
//   - sync.OnceValue, OnceValues and OnceFunc: computed at first use, constant then
//   - go:embed, strings for the linker's -X, and assertions to _
//
// It goes by the source alone, without types: a change through another name is not seen.
func State(t *Tree) []Violation {
	var out []Violation
	for _, folder := range t.Folders {
		vars := make(map[string]*ast.Ident)
		for _, file := range folder.source() {
			for _, decl := range file.AST.Decls {
				d, ok := decl.(*ast.GenDecl)
				if !ok || d.Tok != token.VAR {
					continue
				}
				for _, spec := range d.Specs {
					s := spec.(*ast.ValueSpec)
					if embedded(d.Doc) || embedded(s.Doc) {
						continue
					}
					for i, name := range s.Names {
						if name.Name == "_" {
							continue
						}
						vars[name.Name] = name
						var value ast.Expr
						if i < len(s.Values) {
							value = s.Values[i]
						}
						if reason := mutable(s.Type, value); reason != "" {
							out = append(out, Violation{t.at(name.Pos()), "state", fmt.Sprintf("%s is package-level state: %s", name.Name, reason),
								"make it a field of an object that is built and passed on, or a sync.OnceValue if it never changes"})
							delete(vars, name.Name)
						}
					}
				}
			}
		}
		for _, file := range folder.Files {
			for name, pos := range changes(file.AST, vars) {
				out = append(out, Violation{t.at(pos), "state", name + " is a package-level variable and is changed here: whoever reads it depends on what ran before",
					"make it a field of an object that is built and passed on"})
			}
		}
	}
	return out
}

func embedded(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	for _, comment := range doc.List {
		if strings.HasPrefix(comment.Text, "//go:embed ") {
			return true
		}
	}
	return false
}

// constructors may be called to make a package-level value.
var constructors = map[string]bool{"errors.New": true, "fmt.Errorf": true, "errkind.New": true,
	"sync.OnceValue": true, "sync.OnceValues": true, "sync.OnceFunc": true, "len": true, "string": true,
	"netip.AddrFrom4": true, "netip.AddrFrom16": true, "netip.PrefixFrom": true}

// mutable says why a variable with this declaration is state; "" if only its use can tell.
func mutable(kind, value ast.Expr) string {
	if value == nil {
		if ident, ok := kind.(*ast.Ident); ok && ident.Name == "string" {
			return "" // for the linker
		}
		return "it begins empty, so somebody fills it later"
	}
	switch v := value.(type) {
	case *ast.UnaryExpr:
		if v.Op == token.AND {
			return "a pointer lets everyone change what it points to"
		}
	case *ast.CallExpr:
		switch fun := v.Fun.(type) {
		case *ast.ArrayType, *ast.ParenExpr:
			return ""
		case *ast.IndexExpr, *ast.IndexListExpr:
			return "" // a generic table type's conversion
		case *ast.Ident:
			if constructors[fun.Name] || ast.IsExported(fun.Name) && len(v.Args) == 1 {
				return ""
			}
			return fun.Name + "() runs in every start"
		case *ast.SelectorExpr:
			name := fun.Sel.Name
			if pkg, ok := fun.X.(*ast.Ident); ok {
				name = pkg.Name + "." + name
			}
			if !constructors[name] {
				return name + "() runs in every start"
			}
		}
	}
	return ""
}

// changes finds assignments to, changes of and addresses of the variables in a file, tests included.
func changes(file *ast.File, vars map[string]*ast.Ident) map[string]token.Pos {
	found := make(map[string]token.Pos)
	mark := func(expr ast.Expr) {
		for {
			switch e := expr.(type) {
			case *ast.IndexExpr:
				expr = e.X
			case *ast.SelectorExpr:
				expr = e.X
			case *ast.StarExpr:
				expr = e.X
			case *ast.ParenExpr:
				expr = e.X
			case *ast.SliceExpr:
				expr = e.X
			case *ast.Ident:
				declared := vars[e.Name]
				if declared != nil && (e.Obj == nil || e.Obj.Pos() == declared.Pos()) {
					found[e.Name] = e.Pos()
				}
				return
			default:
				return
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch s := n.(type) {
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				for _, left := range s.Lhs {
					mark(left)
				}
			}
		case *ast.IncDecStmt:
			mark(s.X)
		case *ast.RangeStmt:
			if s.Tok == token.ASSIGN {
				mark(s.Key)
				mark(s.Value)
			}
		case *ast.UnaryExpr:
			if s.Op == token.AND {
				mark(s.X)
			}
		case *ast.CallExpr:
			if fun, ok := s.Fun.(*ast.Ident); ok && len(s.Args) > 0 && (fun.Name == "delete" || fun.Name == "clear" || fun.Name == "copy") {
				mark(s.Args[0])
			}
		case *ast.KeyValueExpr, *ast.Field:
		}
		return true
	})
	return found
}
