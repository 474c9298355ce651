package index

import (
	"slices"
	"strings"
	"testing"

	"pier/lib/errkind"
)

func TestIndex(t *testing.T) {
	a, b := strings.Repeat("a", 64), "ab"+strings.Repeat("b", 62)
	x := New[*string]()
	if err := x.Reserve("web", a); err != nil {
		t.Fatal(err)
	}
	if err := x.Reserve("web", b); !errkind.Is(err, errkind.Conflict) || !strings.Contains(err.Error(), a) {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err := x.Find("web"); !errkind.Is(err, errkind.NotFound) {
		t.Errorf("a container that is only being made is found: %v", err)
	}
	x.Unreserve("web", b) // not b's
	if err := x.Reserve("db", b); err != nil {
		t.Fatal(err)
	}
	x.Add(a, &a, []string{b})
	x.Add(b, &b, nil)
	for ref, want := range map[string]*string{a: &a, "web": &a, "/web": &a, "aa": &a, "db": &b, "ab": &b} {
		if got, err := x.Find(ref); got != want || err != nil {
			t.Errorf("%s: %v, %v", ref, got, err)
		}
	}
	if got, err := x.Find("a"); got != nil || !errkind.Is(err, errkind.Invalid) {
		t.Errorf("the beginning of two: %v, %v", got, err)
	}
	if x.Get("web") != nil || x.Get(b) != &b || len(x.All()) != 2 || !slices.Equal(x.LinkedTo(b), []*string{&a}) {
		t.Errorf("get %v, %d in all, linked %v", x.Get(b), len(x.All()), x.LinkedTo(b))
	}
	x.Remove(a, "web")
	if _, err := x.Find("web"); !errkind.Is(err, errkind.NotFound) || len(x.LinkedTo(b)) != 0 || len(x.links) != 0 {
		t.Errorf("after its removal: %v, %v", err, x.links)
	}
	if err := x.Reserve("web", b); err != nil {
		t.Errorf("the name of a removed container: %v", err)
	}
}
