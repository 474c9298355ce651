package request

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestCheckTag(t *testing.T) {
	for name, want := range map[string]string{
		"web": "", "web:1.4": "", "me/web": "", "registry.example:5000/a/b_c:V-1": "", "localhost/x": "", "[::1]:5000/x": "", "a__b": "",
		"BAD NAME": "lowercase", "bad name": "more than letters", "Up/x": "lowercase", "x:": "tag is empty", "x:-a": "tag", "a//b": "begins and ends", "-x": "begins and ends",
		"a:b:c": "more than letters", "": "begins and ends", "x:" + strings.Repeat("y", 129): "tag", "re gistry.example/x": "no host name",
	} {
		err := CheckTag(name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
	if WithTag("h:5000/x") != "h:5000/x:latest" || WithTag("x@sha256:1") != "x@sha256:1" || WithTag("x:1") != "x:1" {
		t.Error("WithTag")
	}
	if repo, tag := SplitTag("h:5000/x"); repo != "h:5000/x" || tag != "" {
		t.Errorf("SplitTag: %q, %q", repo, tag)
	}
}

func TestListsOfFlags(t *testing.T) {
	var plain, comma, filter []string
	s := pflag.NewFlagSet("", pflag.ContinueOnError)
	s.Var(List(&plain), "plain", "")
	s.Var(Strings(&comma), "comma", "")
	s.Var(ListOf("filter", &filter), "filter", "")
	s.Var(Refused("string"), "refused", "")
	if err := s.Parse([]string{"--plain", "a,b", "--plain", "c", "--comma", "a,b", "--comma", "c", "--filter", "label=x=y"}); err != nil {
		t.Fatal(err)
	}
	if strings.Join(plain, "|") != "a,b|c" || strings.Join(comma, "|") != "a|b|c" || strings.Join(filter, "|") != "label=x=y" {
		t.Errorf("%q %q %q", plain, comma, filter)
	}
	for _, wrong := range [][2]string{{"--filter=x", "expected name=value"}, {"--filter==x", "expected name=value"}, {"--refused=x", "not supported"}} {
		if err := s.Parse(wrong[:1]); err == nil || !strings.Contains(err.Error(), wrong[1]) {
			t.Errorf("%s: %v", wrong[0], err)
		}
	}
}

func TestAddresses(t *testing.T) {
	ipam := func(args string) (string, error) {
		var a Addresses
		s := pflag.NewFlagSet("", pflag.ContinueOnError)
		a.Register(s)
		if err := s.Parse(strings.Fields(args)); err != nil {
			return "", err
		}
		i, err := a.IPAM()
		if err != nil {
			return "", err
		}
		out := i.Driver
		for _, c := range i.Config {
			out += " " + c.Subnet.String() + " " + c.Gateway.String() + " " + c.IPRange.String()
			for name, ip := range c.AuxAddress {
				out += " " + name + "=" + ip.String()
			}
		}
		return out, nil
	}
	for args, want := range map[string]string{
		"": "default",
		"--subnet 10.9.1.7/16,fd00::/64 --gateway fd00::1 --ip-range 10.9.1.0/24 --aux-address host=10.9.0.9": "default 10.9.0.0/16 invalid IP 10.9.1.0/24 host=10.9.0.9 fd00::/64 fd00::1 invalid Prefix",
		"--subnet x":                             "error",
		"--subnet 10.0.0.0/8 --gateway 11.0.0.1": "error",
		"--gateway 10.0.0.1":                     "error",
		"--aux-address x=y":                      "error",
	} {
		got, err := ipam(args)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %q (%v), want %q", args, got, err, want)
		}
	}
}

func TestMoment(t *testing.T) {
	now := time.Unix(1000, 500)
	for text, want := range map[string]string{"": "", "0": "0", "10s": "990.000000500", "1700000000.5": "1700000000.5", "1970-01-01T00:16:40Z": "1000.000000000"} {
		if got, err := Moment(text, now); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := Moment("yesterday", now); err == nil {
		t.Error("yesterday is a moment")
	}
}
