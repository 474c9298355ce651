package table

import (
	"fmt"
	"net/netip"
	"text/template"
	"text/template/parse"
)

// Templates are written for addresses that are text, empty where there is none. In the API's Go types they are netip.Addr
// and netip.Prefix, which print "invalid IP" then and count as true. So each pipeline that is printed, tested or
// assigned ends with plain.

// plainAddresses changes a template and those it defines accordingly.
func plainAddresses(t *template.Template) {
	for _, each := range t.Templates() {
		if each.Tree != nil {
			plainList(each.Root)
		}
	}
}

func plainList(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			plainPipe(n.Pipe)
		case *parse.IfNode:
			plainPipe(n.Pipe)
			plainList(n.List)
			plainList(n.ElseList)
		case *parse.WithNode:
			plainPipe(n.Pipe)
			plainList(n.List)
			plainList(n.ElseList)
		case *parse.RangeNode:
			plainList(n.List)
			plainList(n.ElseList)
		}
	}
}

func plainPipe(p *parse.PipeNode) {
	name := parse.NewIdentifier("plain").SetPos(p.Pos)
	p.Cmds = append(p.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Pos: p.Pos, Args: []parse.Node{name}})
}

// plain turns an address into text, and leaves everything else alone.
func plain(v any) any {
	switch a := v.(type) {
	case netip.Addr:
		return addressText(a)
	case netip.Prefix:
		return addressText(a)
	}
	return v
}

func addressText[A interface {
	fmt.Stringer
	IsValid() bool
}](a A) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// plainAll is plain for the arguments of print, printf and println.
func plainAll(list []any) []any {
	for i := range list {
		list[i] = plain(list[i])
	}
	return list
}
