package digest

import (
	_ "crypto/sha256"
	_ "crypto/sha512"
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for s, want := range map[string]error{
		"sha256:" + sum:                    nil,
		"sha512:" + sum + sum:              nil,
		"sha384:" + sum + sum[:32]:         nil,
		"":                                 ErrDigestInvalidFormat,
		":":                                ErrDigestInvalidFormat,
		sum:                                ErrDigestInvalidFormat,
		"sha256:":                          ErrDigestInvalidFormat,
		":" + sum:                          ErrDigestInvalidFormat,
		"sha256:" + sum[1:]:                ErrDigestInvalidLength,
		"sha256:" + sum + sum:              ErrDigestInvalidLength,
		"sha256:" + sum[1:] + "g":          ErrDigestInvalidFormat,
		"sha256:" + strings.ToUpper(sum):   ErrDigestInvalidFormat,
		"sha256:" + sum[2:] + "\n0":        ErrDigestInvalidFormat,
		"sha256:" + sum[2:] + ":0":         ErrDigestInvalidFormat,
		"SHA256:" + sum:                    ErrDigestInvalidFormat,
		"md5:d41d8cd98f00b204e9800998ecf8": ErrDigestUnsupported,
		"a+b.c_d-e:XYZ=_-":                 ErrDigestUnsupported,
		"a++b:XYZ":                         ErrDigestInvalidFormat,
		"a+:XYZ":                           ErrDigestInvalidFormat,
		"+a:XYZ":                           ErrDigestInvalidFormat,
		"a:XY/Z":                           ErrDigestInvalidFormat,
		"a:b:c":                            ErrDigestInvalidFormat,
	} {
		if d, err := Parse(s); !errors.Is(err, want) || string(d) != s {
			t.Errorf("%q: %v, not %v", s, err, want)
		}
	}
}

// What is read by hand is what the specification's grammar says.
func TestGrammar(t *testing.T) {
	grammar := regexp.MustCompile(`^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$`)
	const letters = "az09+._-:AZ= /g\n"
	for range 200_000 {
		s := make([]byte, rand.IntN(10))
		for i := range s {
			s[i] = letters[rand.IntN(len(letters))]
		}
		err := Digest(s).Validate()
		if well := grammar.Match(s); well != errors.Is(err, ErrDigestUnsupported) || !well && !errors.Is(err, ErrDigestInvalidFormat) {
			t.Fatalf("%q: %v, and the grammar says %v", s, err, well)
		}
	}
}

func TestCompute(t *testing.T) {
	const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	const abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if FromBytes(nil) != empty || FromString("abc") != abc {
		t.Errorf("%s, %s", FromBytes(nil), FromString("abc"))
	}
	d, err := FromReader(strings.NewReader("abc"))
	if err != nil || d != abc || d.Algorithm() != SHA256 || "sha256:"+d.Encoded() != abc || d.Hex() != d.Encoded() {
		t.Errorf("%s, %v", d, err)
	}
	for _, alg := range []Algorithm{SHA256, SHA384, SHA512} {
		if d := alg.FromString("abc"); d.Validate() != nil || d.Algorithm() != alg || len(d.Encoded()) != 2*alg.Size() {
			t.Errorf("%s", d)
		}
	}
	v := Digest(abc).Verifier()
	for i, whole := range []bool{false, false, true, false} {
		if _, err := v.Write([]byte("abcd"[i : i+1])); err != nil || v.Verified() != whole {
			t.Errorf("%q: %v, verified: %v", "abcd"[:i+1], err, !whole)
		}
	}
}

func TestUnknown(t *testing.T) {
	var a Algorithm
	if err := a.Set(""); err != nil || a != Canonical {
		t.Errorf("%q, %v", a, err)
	}
	if err := a.Set("md5"); err != ErrDigestUnsupported || a.Available() || a.Size() != 0 {
		t.Errorf("%q, %v", a, err)
	}
	for name, f := range map[string]func(){"hash": func() { Algorithm("md5").Hash() }, "encoded": func() { Digest("abc").Encoded() }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			f()
		}()
	}
}
