package capability

import (
	"slices"
	"testing"

	"pier/lib/errkind"
)

func TestNames(t *testing.T) {
	for name, want := range map[string]string{"net_admin": "CAP_NET_ADMIN", "CAP_NET_ADMIN": "CAP_NET_ADMIN", "Cap_Bpf": "CAP_BPF", "all": "ALL"} {
		if got, err := Parse(name); err != nil || got != want {
			t.Errorf("Parse(%q) = %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "CAP_", "CAP_CAP_KILL", "NET", "KILL "} {
		if got, err := Parse(name); !errkind.Is(err, errkind.Invalid) {
			t.Errorf("Parse(%q) = %q, %v", name, got, err)
		}
	}
	if names[0] != "CAP_CHOWN" || names[21] != "CAP_SYS_ADMIN" || len(names) != 41 || slices.Contains(names[:], "") {
		t.Error("the table is out of order")
	}
}

func TestMask(t *testing.T) {
	const docker = 0xa80425fb // Docker's default, as /proc/<pid>/status shows it in a container
	mask, err := Mask(Default())
	if err != nil || mask != docker&available() {
		t.Errorf("Mask(Default) = %#x, %v", mask, err)
	}
	everything, err := Mask([]string{"all"})
	if err != nil || everything != available() || len(All()) == 0 {
		t.Errorf("Mask(all) = %#x, %v", everything, err)
	}
	if _, err := Mask([]string{"CAP_PRAY"}); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("unknown name: %v", err)
	}
}

func TestAdjust(t *testing.T) {
	base := []string{"CAP_KILL", "CAP_CHOWN"}
	without := slices.DeleteFunc(All(), func(s string) bool { return s == "CAP_MKNOD" })
	tests := []struct{ add, drop, want []string }{
		{nil, nil, []string{"CAP_CHOWN", "CAP_KILL"}},
		{[]string{"setuid"}, []string{"kill"}, []string{"CAP_CHOWN", "CAP_SETUID"}},
		{[]string{"kill"}, []string{"all"}, []string{"CAP_KILL"}},
		{[]string{"ALL"}, []string{"MKNOD"}, without},
		{nil, []string{"ALL"}, nil},
	}
	for _, tt := range tests {
		if got, err := Adjust(base, tt.add, tt.drop); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("Adjust(add %v, drop %v) = %v, %v; want %v", tt.add, tt.drop, got, err, tt.want)
		}
	}
	if _, err := Adjust(base, nil, []string{"x"}); !errkind.Is(err, errkind.Invalid) {
		t.Errorf("unknown name to drop: %v", err)
	}
}
