package stuck

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The requests of the kernel's FUSE protocol (linux/fuse.h) that a mount needs before anybody looks for a file.
const (
	fuseLookup  = 1
	fuseForget  = 2
	fuseGetattr = 3
	fuseInit    = 26
	fuseSignal  = 36 // FUSE_INTERRUPT
	fuseForgets = 42 // FUSE_BATCH_FORGET
)

// hungFS mounts a file system that says what its root is, and never answers who looks for a file in it: such a process
// waits in the kernel, and no signal reaches it. The returned function ends the mount, and with it every wait.
func hungFS(t *testing.T) (dir string, release func()) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "hung")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The netpoller would watch the device from before there is a mount to hear of.
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	dev := os.NewFile(uintptr(fd), "/dev/fuse")
	// The program mount is given the device as its descriptor 3.
	mount := exec.Command("mount", "-i", "-t", "fuse", "-o", "fd=3,rootmode=40000,user_id=0,group_id=0,allow_other", "pier-test-hung", dir)
	mount.ExtraFiles = []*os.File{dev}
	if out, err := mount.CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(dev)
	}()
	var once sync.Once
	release = func() {
		once.Do(func() {
			if out, err := exec.Command("umount", "-f", dir).CombinedOutput(); err != nil { // aborts the connection
				if out2, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
					t.Errorf("umount: %v\n%s%s", err, out, out2)
				}
			}
			dev.Close()
			<-served
		})
	}
	t.Cleanup(release)
	return dir, release
}

// serve answers the kernel until the device is closed or the file system is gone.
func serve(dev *os.File) {
	request := make([]byte, 1<<17)
	for {
		n, err := dev.Read(request)
		if err != nil || n < 40 {
			return
		}
		op, unique := binary.LittleEndian.Uint32(request[4:]), request[8:16]
		var body []byte
		code := int32(0)
		switch op {
		case fuseLookup, fuseForget, fuseForgets, fuseSignal:
			continue
		case fuseInit:
			body = make([]byte, 64)
			binary.LittleEndian.PutUint32(body, 7)
			binary.LittleEndian.PutUint32(body[4:], 31)
			binary.LittleEndian.PutUint32(body[20:], 4096) // max_write
		case fuseGetattr:
			body = make([]byte, 16+88)
			binary.LittleEndian.PutUint64(body, 3600) // seconds that it is true
			attr := body[16:]
			binary.LittleEndian.PutUint64(attr, 1)            // inode
			binary.LittleEndian.PutUint32(attr[60:], 0o40755) // mode
			binary.LittleEndian.PutUint32(attr[64:], 2)       // links
		default:
			code = -38 // ENOSYS
		}
		answer := make([]byte, 16, 16+len(body))
		binary.LittleEndian.PutUint32(answer, uint32(16+len(body)))
		binary.LittleEndian.PutUint32(answer[4:], uint32(code))
		copy(answer[8:], unique)
		if _, err := dev.Write(append(answer, body...)); err != nil {
			return
		}
	}
}
