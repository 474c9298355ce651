// Package vm runs Pier on the kernels of its users: Debian's own, with cgroup v2 alone, each in a virtual machine.
//
//	.cache/vm        kernels, and for arm64 programs; fetched by apt into a folder and unpacked there, nothing is installed
//	initramfs        busybox, the kernel's modules, the three programs, an image, testdata
//	testdata/init.sh the machine's first process: modules, file systems, network card, pierd
//	testdata/checks.sh   what is checked, one shell function each; every one becomes a subtest
//
// Its power is cut after the checks, and it is started once more on the same disk: see after_power_cut.
//
// The machine is emulated instruction by instruction (QEMU's TCG), so that it needs no hardware for it: everything in
// it takes ten to twenty times longer. Its data root is an ext4 on a virtual disk, its network a card behind QEMU's
// own NAT that reaches one made-up server and nothing else.
//
// So a machine may also have processors of another kind (arch): PIER_VM_ARCH=arm64, which `make test-vm-arm64` sets.
//
// Start reading at TestDebian.
package vm
