package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// arch is a kind of processor: what Go and Debian call it, what Linux and QEMU do, and how a machine of it is emulated.
type arch struct {
	name, machine string
	emulator      []string // options of QEMU
	kernel        string   // options of Linux
}

var (
	// Two processors on one thread: QEMU 7.2 with a thread for each now and then shows one a half patched kernel, and its
	// cmpxchg16b is not whole. On a busy machine the timer's first interrupts come too late for the kernel, which believes that
	// there are none and gives up (no_timer_check).
	amd64 = arch{"amd64", "x86_64", []string{"-accel", "tcg,thread=single", "-cpu", "max,cx16=off"}, "console=ttyS0 no_timer_check"}
	// Signed pointers and vectors would make it slower still: nothing here uses them.
	arm64 = arch{"arm64", "aarch64", []string{"-M", "virt", "-accel", "tcg", "-cpu", "max,pauth=off,sve=off"}, "console=ttyAMA0"}
)

// release is a kernel that apt can fetch.
type release struct {
	name  string
	arch  arch
	suite string   // of Debian's archive, in place of the machine's own sources; "" for those
	meta  string   // the package that depends on the kernel's
	tools []string // packages with programs for the machine; none where it has those of this one
	disks []string
	// programs says that this machine runs those tests, too.
	programs bool
}

// kernel is an unpacked kernel package.
type kernel struct {
	arch    arch
	root    string   // of the file system that the machine's programs are from
	image   string   // vmlinuz
	modules []string // files in the order in which they can be loaded
}

// modules that Pier needs, as Debian's kernel would load them by itself, and those of the virtual machine.
var wanted = []string{
	"overlay", "veth", "bridge", "br_netfilter", "nf_tables", "nft_chain_nat", "nft_nat", "nft_masq", "nft_redir", "nft_ct",
	"nft_fib_inet", "nft_reject_inet", "nf_conntrack_netlink", "virtio_pci", "virtio_blk", "virtio_net", "quota_v2", "xfs",
	"unix_diag", "inet_diag", "tcp_diag", "udp_diag", "raw_diag", "af_packet_diag", "netlink_diag", // criu asks for sockets by them
}

// get fetches and unpacks r's kernel into the repository's cache, once.
func (r release) get(t *testing.T) kernel {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", ".cache", "vm", r.name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "boot")); err != nil {
		r.fetch(t, dir)
	}
	images, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if len(images) != 1 {
		t.Fatalf("%s: want one kernel image, found %q", dir, images)
	}
	k := kernel{arch: r.arch, root: "/", image: images[0], modules: modules(t, dir)}
	if len(r.tools) > 0 {
		k.root = dir
	}
	return k
}

// fetch puts the unpacked packages at dir. Until all of it is there it has another name.
func (r release) fetch(t *testing.T, dir string) {
	t.Helper()
	work := dir + ".new"
	if err := os.RemoveAll(work); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"apt/lists/partial", "apt/cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(work, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	options := []string{"-q", "-o", "APT::Sandbox::User=root"}
	if r.suite != "" {
		list := fmt.Sprintf("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian %s main\n", r.suite)
		if err := os.WriteFile(filepath.Join(work, "apt", "sources"), []byte(list), 0o644); err != nil {
			t.Fatal(err)
		}
		options = append(options, "-o", "Dir::Etc::SourceList="+work+"/apt/sources", "-o", "Dir::Etc::SourceParts=/dev/null",
			"-o", "Dir::State::Lists="+work+"/apt/lists", "-o", "Dir::Cache="+work+"/apt/cache")
	}
	if len(r.tools) > 0 { // for them apt looks at a Debian with that processor, in which nothing is installed
		if err := os.WriteFile(filepath.Join(work, "apt", "status"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		options = append(options, "-o", "Dir::State::Status="+work+"/apt/status", "-o", "APT::Architecture="+r.arch.name, "-o", "APT::Architectures="+r.arch.name)
	}
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = work
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("fetch the kernel of %s: %s %s: %v\n%s", r.name, name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	apt := func(tool string, args ...string) string {
		t.Helper()
		return run(tool, append(slices.Clone(options), args...)...)
	}
	apt("apt-get", "update")
	image := ""
	for line := range strings.Lines(apt("apt-cache", "show", "--no-all-versions", r.meta)) {
		if value, ok := strings.CutPrefix(line, "Depends: "); ok {
			image = strings.Fields(value)[0]
		}
	}
	if !strings.HasPrefix(image, "linux-image-") {
		t.Fatalf("%s has no kernel for %s", r.name, r.meta)
	}
	apt("apt-get", "download", image)
	files, _ := filepath.Glob(filepath.Join(work, "linux-image-*.deb"))
	if len(files) != 1 {
		t.Fatalf("download of %s: %q", image, files)
	}
	if len(r.tools) > 0 {
		apt("apt-get", append([]string{"install", "-y", "--download-only", "--no-install-recommends"}, r.tools...)...)
		tools, _ := filepath.Glob(filepath.Join(work, "apt/cache/archives/*.deb"))
		files = append(files, tools...)
	}
	for _, file := range files {
		run("dpkg-deb", "-x", file, work)
	}
	for _, done := range []string{files[0], filepath.Join(work, "apt")} {
		if err := os.RemoveAll(done); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(work, dir); err != nil {
		t.Fatal(err)
	}
}

// modules finds the files of the wanted modules and of all that they depend on, dependencies first. One that is
// neither here nor built in fails the test.
func modules(t *testing.T, dir string) []string {
	t.Helper()
	files, builtin := make(map[string]string), make(map[string]bool)
	name := func(path string) string {
		base, _, _ := strings.Cut(filepath.Base(path), ".ko")
		return strings.ReplaceAll(base, "-", "_")
	}
	err := filepath.WalkDir(filepath.Join(dir, "lib", "modules"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.Contains(d.Name(), ".ko") {
			files[name(path)] = path
		}
		if d.Name() == "modules.builtin" {
			list, err := os.ReadFile(path)
			for line := range strings.Lines(string(list)) {
				builtin[name(strings.TrimSpace(line))] = true
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	seen := make(map[string]bool)
	var add func(module string)
	add = func(module string) {
		if seen[module] || builtin[module] {
			return
		}
		seen[module] = true
		path, ok := files[module]
		if !ok {
			t.Fatalf("%s: no module %s", dir, module)
		}
		path = unpacked(t, path)
		for _, dependency := range dependencies(t, path) {
			add(strings.ReplaceAll(dependency, "-", "_"))
		}
		order = append(order, path)
	}
	for _, module := range wanted {
		add(module)
	}
	return order
}

// unpacked returns a module without its compression.
func unpacked(t *testing.T, path string) string {
	t.Helper()
	plain, packed := strings.CutSuffix(path, ".xz")
	if !packed {
		return path
	}
	if _, err := os.Stat(plain); err == nil {
		return plain
	}
	data, err := exec.Command("/bin/busybox", "unxz", "-c", path).Output()
	if err != nil {
		t.Fatalf("unpack %s: %v", path, err)
	}
	if err := os.WriteFile(plain, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return plain
}

// dependencies reads what a module itself says that it depends on.
func dependencies(t *testing.T, path string) []string {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Section(".modinfo").Data()
	if err != nil {
		t.Fatal(err)
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if value, ok := strings.CutPrefix(string(field), "depends="); ok && value != "" {
			return strings.Split(value, ",")
		}
	}
	return nil
}
