package security

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// build sends a context with a Dockerfile and returns the answer.
func (w *world) build(query, dockerfile string, entries ...entry) string {
	w.t.Helper()
	context := archive(w.t, append(entries, text("Dockerfile", dockerfile))...)
	status, out := w.request("POST", "/build?t=built&"+query, bytes.NewReader(context))
	w.refusedOr(status, out)
	return out
}

// TestBuildSources takes what builds copy and mount from links, of the context, of other stages and of cache mounts
// (CVE-2024-1753, CVE-2024-9407, CVE-2024-9675, CVE-2024-11218, CVE-2024-23651, CVE-2024-23652, CVE-2026-33747).
func TestBuildSources(t *testing.T) {
	w := start(t)
	host := filepath.Dir(w.canary)
	up := strings.Repeat("../", 20)
	links := []entry{symlink("file", w.canary), symlink("folder", host), symlink("up", up+host[1:]), symlink("root", "/"), text("plain", "x")}
	show := "RUN find /got -type f | grep canary && exit 1; [ -z \"$(cat /got/* 2>/dev/null | grep 'of the host')\" ]\n"
	w.image("tools", nil, symlink("bin/find", "busybox"), symlink("bin/mknod", "busybox"), symlink("bin/mkfifo", "busybox"))
	for name, body := range map[string]string{
		"copy file":         "COPY file /got/\n",
		"copy folder":       "COPY folder /got/\n",
		"copy folder slash": "COPY folder/ /got/\n",
		"copy inside":       "COPY folder/canary /got/\n",
		"copy up":           "COPY up/canary /got/\n",
		"copy dotdot":       "COPY " + up + w.canary[1:] + " /got/\n",
		"copy wildcard":     "COPY f*/* /got/\n",
		"add file":          "ADD file /got/\n",
		"copy root":         "COPY root" + w.canary + " /got/\n",
		"dest link":         "RUN ln -s " + host + " /got\nCOPY plain /got/canary\n",
		"dest dotdot":       "COPY plain " + up + w.canary[1:] + "\n",
		"dest link parent":  "RUN ln -s " + host + " /x\nCOPY plain /x/canary\nADD plain /x/canary\n",
		"dest file link":    "RUN mkdir /got && ln -s " + w.canary + " /got/plain\nCOPY plain /got/\n",
		"workdir link":      "RUN ln -s " + host + " /x\nWORKDIR /x/evil\nRUN touch evil\n",
		"workdir dotdot":    "WORKDIR " + up + host[1:] + "/evil\nRUN touch evil\n",
		"workdir fd":        "WORKDIR /proc/self/fd/9\nRUN ls > /got\n",
		"bind file":         "RUN --mount=type=bind,source=file,target=/got/x true\n",
		"bind folder":       "RUN --mount=type=bind,source=folder,target=/got ls /got | grep canary && exit 1 || :\n",
		"bind dotdot":       "RUN --mount=type=bind,source=" + up + host[1:] + ",target=/got ls /got | grep canary && exit 1 || :\n",
		"bind rw":           "RUN --mount=type=bind,source=folder,target=/got,rw touch /got/evil || :\n",
		"bind target link":  "RUN ln -s " + host + " /x\nRUN --mount=type=bind,target=/x/y touch /x/evil || :\n",
		"bind over proc":    "RUN --mount=type=bind,target=/proc/self/attr true\n",
		"tmpfs over proc":   "RUN --mount=type=tmpfs,target=/proc cat /proc/version || :\n",
		"cache id":          "RUN --mount=type=cache,id=" + up + host[1:] + ",target=/got ls /got | grep canary && exit 1; touch /got/evil\n",
		"cache id slash":    "RUN --mount=type=cache,id=" + host + ",target=/got touch /got/evil\n",
		"cache source":      "RUN --mount=type=cache,id=a,target=/c ln -s " + host + " /c/link\nRUN --mount=type=cache,id=a,source=link,target=/got ls /got | grep canary && exit 1 || :\n",
		"cache dotdot":      "RUN --mount=type=cache,id=b,source=../..,target=/got ls /got | grep canary && exit 1 || :\n",
		"cache from":        "RUN --mount=type=cache,id=c,from=links,source=/folder,target=/got ls /got | grep canary && exit 1 || :\n",
		"from stage":        "COPY --from=links /folder/canary /got/\n",
		"from stage up":     "COPY --from=links /" + up + w.canary[1:] + " /got/\n",
		"bind from stage":   "RUN --mount=type=bind,from=links,source=/folder,target=/got ls /got | grep canary && exit 1 || :\n",
		"from a path":       "COPY --from=../../etc /x /got/\n",
		"stub":              "RUN rm -rf /etc/hosts; ln -s " + w.canary + " /etc/hosts || :\nRUN --mount=type=tmpfs,target=/a/b/c mv /a /z; ln -s " + host + " /a || :\n",
		"secret":            "RUN --mount=type=secret,id=../../../../etc/shadow,target=/got/x,required=false true\n",
		"network":           "RUN --network=host true\n",
		"insecure":          "RUN --security=insecure [ \"$(grep CapBnd /proc/self/status | cut -f2)\" = " + defaultCaps + " ]\n",
		"device":            "RUN mknod /got b 8 0 && head -c1 /got && exit 1 || :\n",
		"mount":             "RUN mount -t tmpfs x /tmp && exit 1 || :\n",
		"capabilities":      "RUN [ \"$(grep CapBnd /proc/self/status | cut -f2)\" = " + defaultCaps + " ] && [ \"$(grep ^Seccomp: /proc/self/status | cut -f2)\" = 2 ]\n",
		"fds":               "RUN ls -l /proc/self/fd | grep -v -E 'pipe|fifo|null|/proc|total' | wc -l\n",
		"user":              "USER 4294967296\nRUN id\n",
		"user fifo":         "RUN rm /etc/passwd && mkfifo /etc/passwd\nUSER app\nRUN id\n",
		"chown fifo":        "RUN rm /etc/passwd && mkfifo /etc/passwd\nCOPY --chown=app plain /got/\n",
		"chown host":        "RUN rm /etc/passwd && ln -s " + w.canary + " /etc/passwd\nCOPY --chown=app plain /got/\n",
		"syntax":            "",
	} {
		w.sub(name, func(w *world) {
			dockerfile := "FROM tools AS links\nRUN ln -s " + host + " /folder\nFROM tools\nRUN mkdir -p /a\n" + body + show
			if name == "syntax" {
				dockerfile = "# syntax=../../../../bin/sh\nFROM scratch\n"
			}
			out := w.build("", dockerfile, links...)
			if strings.Contains(out, secret) || strings.Contains(out, "returned a non-zero code: 1") && name != "copy root" || strings.Contains(out, "exit code: 1\"") {
				w.t.Error(out)
			}
		})
	}
	for _, name := range []string{"../../../../../etc/passwd", w.canary, "file", "folder/canary", "up/canary"} {
		if out := w.build("dockerfile="+name, "FROM scratch\n", links...); strings.Contains(out, secret) || strings.Contains(out, "root:x") || strings.Contains(out, "canary of") {
			t.Errorf("Dockerfile %s: %s", name, out)
		}
	}
	for _, query := range []string{"remote=file:///etc/passwd", "remote=--upload-pack=touch%20/tmp/evil", "remote=git://-x/y", "remote=/etc", "remote=http://127.0.0.1:1/x", "target=../x", "networkmode=container:../x",
		"cgroupparent=../../x%00", "buildargs=[]", "labels=1", "shmsize=-1", "memory=x", "platform=../x", "t=../x"} {
		status, out, err := w.try("POST", "/build?t=built&"+query, bytes.NewReader(archive(t, append(links, text("Dockerfile", "FROM scratch\nCOPY plain /\n"))...)))
		if err == nil { // else pierd has hung up before it took the whole context
			w.refusedOr(status, out)
		}
	}
	w.intact()
}

// TestRacingBuild exchanges folders of a cache mount for links to the host while other builds mount parts of it
// (CVE-2024-23651).
func TestRacingBuild(t *testing.T) {
	w := start(t)
	host := filepath.Dir(w.canary)
	w.build("", "FROM busybox\nRUN --mount=type=cache,id=shared,target=/c mkdir /c/sub /c/sub/own; ln -s "+host+" /c/evil\n")
	data, _ := filepath.Glob(filepath.Join(w.Dir, "data", "build", "*", "*", "data", "sub"))
	if more, _ := filepath.Glob(filepath.Join(w.Dir, "data", "build", "*", "data", "sub")); len(more) > 0 {
		data = more
	}
	if len(data) != 1 {
		t.Fatalf("where are cache mounts? %v", data)
	}
	stop := race(filepath.Dir(data[0]), "sub", "evil")
	defer stop()
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); {
				_, out, err := w.try("POST", "/build?nocache=1", bytes.NewReader(archive(t, text("Dockerfile",
					"FROM busybox\nRUN --mount=type=cache,id=shared,source=sub,target=/got ls /got; touch /got/evil\n"))))
				if err != nil || strings.Contains(out, "canary") {
					t.Error(out, err)
				}
			}
		})
	}
	all.Wait()
	w.intact()
	if _, err := os.Lstat(filepath.Join(host, "evil")); err == nil {
		t.Error("a build wrote to the host")
	}
}
