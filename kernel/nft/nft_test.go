package nft_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pier/kernel/link"
	"pier/kernel/nft"
)

// open returns a table in a fresh network namespace, and a function that runs nft(8) there.
func open(t testing.TB) (*nft.Table, func(args ...string) string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests need root: they make network namespaces")
	}
	if err := link.Isolate(); err != nil {
		t.Fatal(err)
	}
	m, err := link.New()
	if err != nil {
		t.Fatal(err)
	}
	table, err := nft.Open("test", func(f func() error) error { return m.Do(nil, f) }, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = table.Close()
		_ = m.Close()
	})
	return table, func(args ...string) (out string) {
		t.Helper()
		b, err := exec.Command("nft", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("nft %v: %v\n%s", args, err, b)
		}
		return string(b)
	}
}

func networks() []nft.Network {
	return []nft.Network{
		{Bridge: "br0", Subnets: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("fd12::/64")}, Masquerade: true},
		{Bridge: "br1", Subnets: []netip.Prefix{netip.MustParsePrefix("10.10.0.0/16")}, Internal: true, Separate: true},
	}
}

func port(proto uint8, from, to string) nft.Port {
	return nft.Port{Proto: proto, From: netip.MustParseAddrPort(from), To: netip.MustParseAddrPort(to)}
}

func TestTableIsWrittenHealedAndDeleted(t *testing.T) {
	table, run := open(t)
	p := port(nft.TCP, "127.0.0.1:80", "10.9.0.2:8080")
	if err := table.Replace(networks(), []nft.Port{p}); err != nil {
		t.Fatal(err)
	}
	more := []nft.Port{
		port(nft.UDP, "0.0.0.0:53", "10.9.0.3:53"), port(nft.TCP, "[::]:443", "[fd12::2]:443"),
		port(nft.TCP, "[fd00::1]:443", "[fd12::2]:443"),
	}
	if err := table.Add(more...); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"127.0.0.1 . tcp . 80 : 10.9.0.2 . 8080", "udp . 53 : 10.9.0.3 . 53", "tcp . 443 : fd12::2 . 443",
		"fd00::1 . tcp . 443 : fd12::2 . 443", "dnat ip to ip daddr . meta l4proto . th dport map @named4",
		"fib daddr type != local return", `"br0", "br1"`, `ct status & dnat == 0x0`,
	}
	check := func() (text string, missing string) {
		text = strings.Join(strings.Fields(run("list", "ruleset")), " ")
		for _, s := range want[:7] {
			if !strings.Contains(text, s) {
				return text, s
			}
		}
		return text, ""
	}
	if text, missing := check(); missing != "" {
		t.Fatalf("%q is missing in\n%s", missing, text)
	}
	run("flush", "ruleset")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		text, missing := check()
		if missing == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not healed: %q is missing in\n%s", missing, text)
		}
	}
	// The owner's own changes are no reason to write anything. First the last of the healing comes to its end.
	before := ""
	for calm := 0; calm < 10; time.Sleep(50 * time.Millisecond) {
		now := run("-a", "list", "table", "inet", "test")
		if calm++; now != before {
			before, calm = now, 0
		}
	}
	if err := table.Add(port(nft.TCP, "0.0.0.0:99", "10.9.0.2:99")); err != nil {
		t.Fatal(err)
	}
	table.Remove(port(nft.TCP, "0.0.0.0:99", "10.9.0.2:99"))
	time.Sleep(150 * time.Millisecond)
	if after := run("-a", "list", "table", "inet", "test"); after != before {
		t.Errorf("written anew without a reason:\n%s\nbefore:\n%s", after, before)
	}
	table.Remove(append(more, p)...)
	table.Remove(p) // twice is harmless
	if err := table.SetNetworks(networks()); err != nil {
		t.Fatal(err)
	}
	if text := run("list", "ruleset"); strings.Contains(text, "elements = { 127") {
		t.Errorf("ports stay:\n%s", text)
	}
	if err := table.Delete(); err != nil {
		t.Fatal(err)
	}
	if text := run("list", "ruleset"); text != "" {
		t.Errorf("left:\n%s", text)
	}
}

func TestChangesShareAndSurviveDamage(t *testing.T) {
	table, run := open(t)
	if err := table.Add(port(nft.TCP, "0.0.0.0:1", "10.9.0.2:1")); err != nil { // kept until there is a table
		t.Fatal(err)
	}
	if err := table.SetNetworks(networks()); err != nil {
		t.Fatal(err)
	}
	if err := table.Add(port(nft.TCP, "0.0.0.0:2", "[fd12::2]:2")); err == nil {
		t.Error("families were mixed")
	}
	errs := make(chan error)
	for i := range 300 {
		go func() { errs <- table.Add(port(nft.UDP, fmt.Sprintf("0.0.0.0:%d", 1000+i), "10.9.0.2:9")) }()
	}
	run("delete", "table", "inet", "test") // in the middle of it
	for range 300 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, text, _ := strings.Cut(run("list", "ruleset"), "map any4 {")
		text, _, _ = strings.Cut(text, "\n\t}")
		n := strings.Count(text, " : ")
		if n == 302 { // one is in the type
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d colons, want 302", n)
		}
	}
}

func BenchmarkAddRemove(b *testing.B) {
	table, _ := open(b)
	if err := table.Replace(networks(), nil); err != nil {
		b.Fatal(err)
	}
	p := port(nft.TCP, "0.0.0.0:80", "10.9.0.2:80")
	for b.Loop() {
		if err := table.Add(p); err != nil {
			b.Fatal(err)
		}
		table.Remove(p)
	}
}
