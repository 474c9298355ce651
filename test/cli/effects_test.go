package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pier/test/lab"
)

// effectPrelude is what the commands of flags may use: run and create with a name of their own and no network, and cg, a
// command inside a container that shows a file of cgroup v1 or, where that is not there, of v2.
const effectPrelude = `
run() { $CLI run --rm --network none "$@"; }
net() { $CLI run --rm "$@"; }
shows() { local format=$1; shift; id=$($CLI create --network none "$@"); $CLI inspect -f "$format" $id; $CLI rm -v $id >/dev/null; }
refused() { local code=0; "$@" >out 2>&1 || code=$?; echo "code $code"; cat out; }
cg='f() { cat /sys/fs/cgroup/$1 2>/dev/null || cat /sys/fs/cgroup/$2; }; f'
disk=; for d in /dev/vda /dev/sda /dev/nvme0n1 /dev/loop0; do if [ -b $d ]; then disk=$d; break; fi; done
`

// effects has, for every flag of docker run, what shows that it does what it says: shell commands and an expression for
// what they print. What means nothing on Linux is refused by name. A flag that ends in "!" is tried with pier alone: the
// docker command does not send it, or answers itself.
var effects = []struct{ flag, commands, want string }{
	{"add-host", `net --add-host db:192.0.2.7 --add-host six=2001:db8::7 --add-host gate:host-gateway busybox cat /etc/hosts`,
		`(?s)192\.0\.2\.7\tdb\n2001:db8::7\tsix\n10\.\d+\.\d+\.1\tgate`},
	{"annotation", `shows '{{json .HostConfig.Annotations}}' --annotation a=b busybox true`, `^\{"a":"b"\}`},
	{"attach", `run -a stderr busybox sh -c 'echo out; echo err >&2' 2>&1`, `^err\n$`},
	{"blkio-weight", `refused run --blkio-weight 300 busybox sh -c "$cg blkio/blkio.bfq.weight io.bfq.weight || cat /sys/fs/cgroup/blkio/blkio.weight"`, `\b300\b|weight`},
	{"blkio-weight", `refused run --blkio-weight 5 busybox true`, `(?s)code 125.*Range of blkio weight is from 10 to 1000`},
	{"blkio-weight-device", `refused run --blkio-weight-device nowhere:300 busybox true; refused run --blkio-weight-device $disk:300 busybox true`,
		`(?s)code 125.*nowhere.*code (0|125\n.*scheduler bfq)`},
	{"cap-add", `run --cap-add NET_ADMIN --cap-drop ALL busybox grep CapEff /proc/self/status`, `CapEff:\t0000000000001000`},
	{"cap-add", `refused run --cap-add NONE_SUCH busybox true`, `(?s)code 125.*unknown capability`},
	{"cap-drop", `run --cap-drop CHOWN busybox grep CapBnd /proc/self/status`, `CapBnd:\t00000000a80425fa`},
	{"cgroup-parent", `run --cgroupns host --cgroup-parent /pier-test-flags busybox cat /proc/self/cgroup
		while left=$(find /sys/fs/cgroup -maxdepth 2 -name pier-test-flags); [ -n "$left" ]; do rmdir $left 2>/dev/null || sleep 0.05; done`, `/pier-test-flags/[0-9a-f]{64}`},
	{"cgroupns", `run --cgroupns host busybox cat /proc/self/cgroup; echo; run --cgroupns private busybox cat /proc/self/cgroup | grep -v '/$' || echo own`, `(?s)/[0-9a-f]{64}.*own`},
	{"cidfile", `run --cidfile id busybox true; wc -c <id; refused run --cidfile id busybox true; rm id`, `(?s)^64\n.*code 125\n.*container ID file found`},
	{"cpu-count", `refused run --cpu-count 2 busybox true`, `(?si)code (125|1)\n.*cpu-?count`},
	{"cpu-percent", `refused run --cpu-percent 2 busybox true`, `(?si)code (125|1)\n.*cpu-?percent`},
	{"io-maxbandwidth", `refused run --io-maxbandwidth 2m busybox true`, `(?si)code (125|1)\n.*io-?max`},
	{"io-maxiops", `refused run --io-maxiops 2 busybox true`, `(?si)code (125|1)\n.*io-?max`},
	{"cpu-period", `run --cpu-period 50000 --cpu-quota 20000 busybox sh -c "$cg cpu/cpu.cfs_period_us cpu.max"`, `\b50000\b`},
	{"cpu-quota", `run --cpu-period 50000 --cpu-quota 20000 busybox sh -c "$cg cpu/cpu.cfs_quota_us cpu.max"`, `\b20000\b`},
	{"cpu-rt-period", `refused run --cpu-rt-period 1000001 --cpu-rt-runtime 2000000 busybox true`, `(?s)code 125\n.*real-?time`},
	{"cpu-rt-runtime", `refused run --cpu-rt-runtime 950000 --cpu-rt-period 1000000 busybox sh -c "$cg cpu/cpu.rt_runtime_us nowhere"`,
		`(?s)code 0\n950000|code 125\n.*(real-time scheduler|rt_runtime_us)`},
	{"cpu-shares", `run -c 77 busybox sh -c "$cg cpu/cpu.shares cpu.weight"`, `^(77|[1-9]\d?)\n`},
	{"cpus", `run --cpus 0.25 busybox sh -c "$cg cpu/cpu.cfs_quota_us cpu.max"; refused run --cpus 9999 busybox true`, `(?s)\b25000\b.*code 125\n.*ange of CPUs`},
	{"cpuset-cpus", `run --cpuset-cpus 0 busybox sh -c "nproc; $cg cpuset/cpuset.cpus cpuset.cpus"; refused run --cpuset-cpus 9999 busybox true`,
		`(?s)^1\n0\n.*Requested CPUs are not available - requested 9999`},
	{"cpuset-mems", `run --cpuset-mems 0 busybox sh -c "$cg cpuset/cpuset.mems cpuset.mems"`, `^0\n`},
	{"detach", `id=$($CLI run -d --network none busybox sleep 100); $CLI inspect -f '{{.State.Running}}' $id; $CLI rm -f $id >/dev/null`, `^true`},
	{"detach-keys", `(see '# ' typed; printf 'xy'; see left typed) | script -qfec "$CLI run -it --name leave --detach-keys x,y --network none busybox sh; printf le%s ft" typed >/dev/null
		$CLI inspect -f '{{.State.Running}}' leave; $CLI rm -f leave >/dev/null`, `^true`},
	{"detach-keys", `$CLI run -dit --name again --network none busybox sh -c 'while echo ready; do sleep 0.1; done' >/dev/null
		for how in 'attach --detach-keys x,y again' "exec -it --detach-keys x,y again sh -c 'while echo rea\"\"dy; do sleep 0.1; done'"; do
			: >typed; (see ready typed; printf 'xy'; see left typed) | script -qfec "$CLI $how; printf 'code %s le%s' \$? ft" typed >/dev/null
			grep -ao 'read escape sequence\|code [0-9]' typed
		done; $CLI rm -f again >/dev/null`, `^read escape sequence\ncode 1\nread escape sequence\ncode 1\n$`},
	{"device", `run --device /dev/zero:/dev/naught:r busybox sh -c 'head -c 3 /dev/naught | wc -c; stat -c %t:%T /dev/naught'`, `^3\n1:5`},
	{"device", `refused run --device /dev/none-such busybox true`, `(?s)code 12[57]\n.*no such file or directory`},
	{"device-cgroup-rule", `run --cap-add MKNOD --device-cgroup-rule 'c 10:229 rw' busybox sh -c 'busybox mknod /n c 10 229 && : <>/n && echo open'`, `^open`},
	{"device-read-bps", `run --device-read-bps $disk:1mb busybox sh -c "$cg blkio/blkio.throttle.read_bps_device io.max"`, `1048576`},
	{"device-read-iops", `run --device-read-iops $disk:55 busybox sh -c "$cg blkio/blkio.throttle.read_iops_device io.max"`, `\b(riops=)?55\b`},
	{"device-write-bps", `run --device-write-bps $disk:2mb busybox sh -c "$cg blkio/blkio.throttle.write_bps_device io.max"`, `2097152`},
	{"device-write-iops", `run --device-write-iops $disk:66 busybox sh -c "$cg blkio/blkio.throttle.write_iops_device io.max"`, `\b(wiops=)?66\b`},
	{"disable-content-trust", `run --disable-content-trust busybox echo ran`, `^ran`},
	{"disable-content-trust!", `refused run --disable-content-trust=false busybox true`, `(?s)code 125\n.*--disable-content-trust`},
	{"dns", `net --dns 192.0.2.53 busybox cat /etc/resolv.conf; refused net --dns nowhere busybox true`, `(?s)nameserver 192\.0\.2\.53\n.*code 125\n.*nowhere`},
	{"dns-option", `net --dns-option ndots:3 busybox cat /etc/resolv.conf`, `options ndots:3`},
	{"dns-search", `net --dns-search a.example --dns-search b.example busybox cat /etc/resolv.conf`, `search a\.example b\.example`},
	{"domainname", `net -h box --domainname example.org busybox sh -c 'cat /proc/sys/kernel/domainname /etc/hosts'`, `(?s)^example\.org\n.*\tbox\.example\.org box\n`},
	{"entrypoint", `run --entrypoint echo busybox words; run --entrypoint '' busybox echo none`, `^words\nnone`},
	{"env", `FROM_HOST=here run -e A=1 -e A=2 -e FROM_HOST -e NOWHERE busybox env`, `\n(A=2\nFROM_HOST=here|FROM_HOST=here\nA=2)\nHOME=`},
	{"env-file", `printf '#no\nA=from file\n  B=2\n' >vars; run --env-file vars -e B=3 busybox env; refused run --env-file none busybox true`, `(?s)A=from file\nB=3\n.*code 125\n.*none: no such file`},
	{"expose", `shows '{{json .Config.ExposedPorts}}' --expose 80-81 --expose 53/udp busybox true`, `^\{"53/udp":\{\},"80/tcp":\{\},"81/tcp":\{\}\}`},
	{"gpus", `refused run --gpus all busybox true`, `(?s)code 125\n.*could not select device driver`},
	{"group-add", `run --group-add 99 --group-add extra busybox id -G; refused run --group-add none busybox true`, `(?s)^0 99 2000\n.*code 125\n.*unable to find group none`},
	{"health-cmd", `id=$($CLI run -d --network none --health-cmd 'echo probed' --health-interval 50ms busybox sleep 100)
		until [ "$($CLI inspect -f '{{.State.Health.Status}}' $id)" = healthy ]; do sleep 0.1; done; $CLI inspect -f '{{(index .State.Health.Log 0).Output}}' $id; $CLI rm -f $id >/dev/null`, `^probed`},
	{"health-file!", `id=$($CLI run -d --network none --health-file /tmp/here --health-interval 50ms busybox sh -c 'touch /tmp/here; exec sleep 100')
		until [ "$($CLI inspect -f '{{.State.Health.Status}}' $id)" = healthy ]; do sleep 0.1; done; $CLI rm -f $id >/dev/null; refused run --health-file here busybox true`,
		`(?s)^code 125\n.*a path begins with a slash`},
	{"health-grpc!", `shows '{{json .Config.Healthcheck.Test}}' --health-grpc :50051/a.B busybox true; refused run --health-grpc 50051 busybox true`,
		`(?s)^\["GRPC",":50051","a.B"\]\ncode 125\n.*an address is a port after a colon`},
	{"health-http!", `id=$($CLI run -d --network none --health-http :8080/page --health-interval 50ms busybox sh -c 'echo hello >/tmp/page; exec busybox httpd -f -p 8080 -h /tmp')
		until [ "$($CLI inspect -f '{{.State.Health.Status}}' $id)" = healthy ]; do sleep 0.1; done; $CLI inspect -f '{{range .State.Health.Log}}{{if not .ExitCode}}{{println .Output}}{{end}}{{end}}' $id; $CLI rm -f $id >/dev/null
		refused run --health-http http://example.com/ busybox true`, `(?s)^GET :8080/page: 200 OK\nhello\n.*code 125\n.*only the container itself is asked`},
	{"health-interval", `shows '{{.Config.Healthcheck.Interval}}' --health-cmd x --health-interval 2s busybox true`, `^2s`},
	{"health-retries", `id=$($CLI run -d --network none --health-cmd false --health-interval 50ms --health-retries 2 busybox sleep 100)
		until [ "$($CLI inspect -f '{{.State.Health.Status}}' $id)" = unhealthy ]; do sleep 0.1; done; $CLI inspect -f '{{.State.Health.FailingStreak}}' $id; $CLI rm -f $id >/dev/null`, `^[2-9]|^\d\d`},
	{"health-start-interval", `shows '{{.Config.Healthcheck.StartInterval}}' --health-cmd x --health-start-interval 1s busybox true`, `^1s`},
	{"health-start-period", `shows '{{.Config.Healthcheck.StartPeriod}}' --health-cmd x --health-start-period 3s busybox true`, `^3s`},
	{"health-timeout", `shows '{{.Config.Healthcheck.Timeout}}' --health-cmd x --health-timeout 4s busybox true`, `^4s`},
	{"health-tcp!", `id=$($CLI run -d --network none --health-tcp :8080 --health-interval 50ms --health-retries 1 busybox sleep 100)
		until [ "$($CLI inspect -f '{{.State.Health.Status}}' $id)" = unhealthy ]; do sleep 0.1; done; $CLI inspect -f '{{(index .State.Health.Log 0).Output}}' $id; $CLI rm -f $id >/dev/null`,
		`^TCP :8080: connection refused`},
	{"help", `$CLI run --help`, `Usage: +\w+ run \[OPTIONS\] IMAGE`},
	{"hostname", `net -h box.example.org busybox sh -c 'hostname; cat /etc/hostname /etc/hosts'`, `(?s)^box\.example\.org\nbox\.example\.org\n.*\tbox\.example\.org box\n`},
	{"init", `run --init busybox sh -c 'cat /proc/1/comm; echo $$'`, `^docker-init\n2\n`},
	{"interactive", `echo words | run -i busybox cat`, `^words\n$`},
	{"ip", `$CLI network create --subnet 10.213.77.0/24 --subnet fd00:77::/64 --ipv6 flags >/dev/null
		net --network flags --ip 10.213.77.9 --ip6 fd00:77::9 --mac-address 92:d0:c6:0a:29:33 --link-local-ip 169.254.9.9 --network-alias other --name one busybox sh -c 'ip a show eth0; ping -c 1 other'
		$CLI network rm flags >/dev/null; refused net --ip 10.213.77.9 busybox true`,
		`(?s)92:d0:c6:0a:29:33.*10\.213\.77\.9/24.*169\.254\.9\.9/16.*fd00:77::9/64.*1 packets received.*code 125\n.*user defined networks only`},
	{"ip6", ``, ``}, {"mac-address", ``, ``}, {"link-local-ip", ``, ``}, {"network-alias", ``, ``}, // all in the row of ip
	{"ipc", `id=$($CLI run -d --network none --ipc shareable busybox sh -c 'echo shared >/dev/shm/f; sleep 100'); until $CLI exec $id test -s /dev/shm/f; do sleep 0.05; done
		run --ipc container:$id busybox cat /dev/shm/f; run --ipc none busybox ls /dev/shm 2>&1 || true; run --ipc private busybox ls -A /dev/shm; $CLI rm -f $id >/dev/null
		[ "$(run --ipc host busybox busybox readlink /proc/self/ns/ipc)" = "$(readlink /proc/self/ns/ipc)" ] && echo same; refused run --ipc container:none busybox true`,
		`(?s)^shared\nls: /dev/shm: No such file or directory\nsame\ncode 125\n.*No such container: none`},
	{"isolation", `run --isolation default busybox echo ran; refused run --isolation hyperv busybox true`, `(?s)^ran\ncode 125\n.*hyperv`},
	{"kernel-memory!", `refused run --kernel-memory 50m busybox true`, `(?s)code 125\n.*--kernel-memory`},
	{"label", `shows '{{json .Config.Labels}}' -l a=b -l c busybox true`, `^\{"a":"b","c":""\}`},
	{"label-file", `printf 'a=from file\n#no\n' >labels; shows '{{json .Config.Labels}}' --label-file labels busybox true`, `^\{"a":"from file"\}`},
	{"link", `id=$($CLI run -d --name store -e SIZE=9 busybox sleep 100); net --link store:alias busybox sh -c 'echo $ALIAS_ENV_SIZE; ping -c 1 alias'; $CLI rm -f $id >/dev/null`, `(?s)^9\n.*1 packets received`},
	{"log-driver", `$CLI run --name silent --network none --log-driver none busybox echo hi; refused $CLI logs silent; $CLI rm silent >/dev/null`, `(?s)^hi\ncode 1\n.*does not support reading`},
	{"log-opt", `$CLI run --name tagged --network none --log-opt tag=T busybox echo hi; $CLI logs --details tagged; $CLI rm tagged >/dev/null; refused run --log-opt none=1 busybox true`, `(?s)^hi\ntag=T hi\n.*code 125\n.*unknown log opt 'none'`},
	{"memory", `run -m 64m busybox sh -c "$cg memory/memory.limit_in_bytes memory.max"; refused run -m 1m busybox true`, `(?s)^67108864\n.*Minimum memory limit allowed is 6MB`},
	{"memory-reservation", `run --memory-reservation 32m busybox sh -c "$cg memory/memory.soft_limit_in_bytes memory.low"`, `^33554432\n`},
	{"memory-swap", `run -m 64m --memory-swap 96m busybox sh -c "$cg memory/memory.memsw.limit_in_bytes memory.swap.max"; shows '{{.HostConfig.MemorySwap}}' -m 64m busybox true`, `^(100663296|33554432)\n134217728\n`},
	{"memory-swappiness", `refused run --memory-swappiness 30 busybox sh -c "$cg memory/memory.swappiness none"; refused run --memory-swappiness 101 busybox true`, `(?s)(code 0\n30\n|swappiness).*code 125\n.*0-100`},
	{"mount", `run --mount type=bind,src=$DIR,dst=/b,readonly busybox sh -c 'exec 2>&1; cat /b/file; touch /b/x' || true`, `^in the folder\ntouch: /b/x: Read-only file system`},
	{"name", `run --name called busybox true; id=$($CLI create --name called busybox true); refused $CLI create --name called busybox true; $CLI rm $id >/dev/null`, `(?s)code 1\n.*The container name "/called" is already in use`},
	{"network", `run busybox ls /sys/class/net; net --network host busybox ls /sys/class/net | grep -c .; refused net --network none-such busybox true`, `(?s)^lo\n\d+\n.*code 125\n.*network none-such not found`},
	{"network", `id=$($CLI run -d busybox sleep 100); net --network container:$id busybox hostname | cmp - <($CLI exec $id hostname) && echo same
		for o in '-h x' '-p 80' '--dns 192.0.2.1' '--add-host a:192.0.2.1' '--expose 80'; do refused net --network container:$id $o busybox true; done; $CLI rm -f $id >/dev/null
		refused net --network container:none busybox true`,
		`(?s)^same\ncode 125.*hostname and the network mode.*port publishing.*dns and.*host-to-IP.*port exposing.*code 125.*No such container: none`},
	{"no-healthcheck", `shows '{{json .Config.Healthcheck}}' --no-healthcheck busybox true`, `^\{"Test":\["NONE"\]\}`},
	{"oom-kill-disable", `refused run -m 64m --oom-kill-disable busybox sh -c "$cg memory/memory.oom_control none"`, `oom_kill_disable 1|(?i)oom ?kill`},
	{"oom-score-adj", `run --oom-score-adj 300 busybox cat /proc/self/oom_score_adj; refused run --oom-score-adj 1001 busybox true`, `(?s)^300\n.*range for oom score adj is \[-1000, 1000\]`},
	{"pid", `run --pid host busybox sh -c "test -d /proc/$$ && echo seen"; id=$($CLI run -d --network none busybox sleep 777); run --pid container:$id busybox ps | grep -c 'sleep 777'; $CLI rm -f $id >/dev/null
		refused run --pid container:none busybox true`, `(?s)^seen\n1\ncode 125\n.*No such container: none`},
	{"pids-limit", `run --pids-limit 9 busybox sh -c "$cg pids/pids.max pids.max"; run --pids-limit -1 busybox sh -c "$cg pids/pids.max pids.max"`, `^9\nmax\n`},
	{"platform", `run --platform linux/amd64 busybox echo ran; refused run --pull never --platform linux/s390x busybox true`, `(?s)^ran\ncode 125\n.*(does not match the specified platform|No such image)`},
	{"platform", `$CLI tag busybox 127.0.0.1:1/other; refused run --platform linux/s390x 127.0.0.1:1/other true; $CLI rmi 127.0.0.1:1/other >/dev/null`,
		`(?s)code 125\nUnable to find image '127.0.0.1:1/other:latest' locally\n.*cannot be reached`},
	{"platform", `refused run --platform nowhere busybox true`, `(?s)code 125\n.*unknown operating system`},
	{"privileged", `run --privileged busybox sh -c 'grep -E "CapEff|Seccomp:" /proc/self/status; test -c /dev/kmsg && mount | grep -c "sysfs.*(rw"'`, `(?s)CapEff:\t0*1[0-9a-f]{9,}\nSeccomp:\t0\n1\n`},
	{"publish", `$CLI run -d --name pub -p 127.0.0.1:$PORT:80 -p 90/udp busybox sleep 100 >/dev/null; $CLI port pub; $CLI ps --filter name=pub --format '{{.Ports}}'; $CLI rm -f pub >/dev/null; refused net -p x busybox true`,
		`(?s)80/tcp -> 127\.0\.0\.1:\d+\n90/udp -> 0\.0\.0\.0:\d+.*127\.0\.0\.1:\d+->80/tcp, 0\.0\.0\.0:\d+->90/udp.*code 125`},
	{"publish-all", `$CLI run -d --name pub -P --expose 80 busybox sleep 100 >/dev/null; $CLI port pub 80; $CLI rm -f pub >/dev/null`, `^0\.0\.0\.0:\d+`},
	{"pull", `run --pull never busybox echo ran; refused run --pull never none-such busybox; refused run --pull perhaps busybox true`, `(?s)^ran\ncode 125\n.*No such image: none-such:latest\n.*code 125\n.*invalid pull option`},
	{"quiet", `run -q busybox echo ran`, `^ran\n$`},
	{"read-only", `refused run --read-only busybox touch /x; run --read-only busybox touch /dev/shm/x`, `(?s)code 1\n.*Read-only file system`},
	{"restart", `id=$($CLI run -d --network none --restart on-failure:2 busybox false); until [ "$($CLI inspect -f '{{.State.Status}} {{.RestartCount}}' $id)" = 'exited 2' ]; do sleep 0.1; done; $CLI rm $id >/dev/null; echo thrice`, `^thrice`},
	{"rm", `net --name gone -v /anonymous busybox true; refused $CLI inspect gone; $CLI volume ls -q | wc -l`, `(?s)code 1\n.*no such object: gone\n0\n$|(?si)no such object: gone.*\n0\n$`},
	{"runtime", `refused run --runtime none busybox true`, `(?s)code 125\n.*unknown or invalid runtime name: none`},
	{"secret!", `printf 'from a file' >key; TOKEN=word run --secret src=key --secret type=env,src=TOKEN,target=/t,mode=0644,uid=5,gid=6 -u app busybox sh -c 'cat /run/secrets/key /t; echo; stat -c "%u:%g %a" /run/secrets/key /t'; refused run --secret plain busybox true`,
		`(?s)^from a fileword\n1000:1000 400\n5:6 644\ncode 125\n.*no key=value`},
	{"security-opt", `run --security-opt no-new-privileges --security-opt seccomp=unconfined busybox grep -E 'NoNewPrivs|Seccomp:' /proc/self/status
		echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}' >profile; refused run --security-opt seccomp=profile busybox mkdir /x
		run --security-opt systempaths=unconfined busybox mount | grep -c /proc/ || true; refused run --security-opt none=1 busybox true`,
		`(?s)^NoNewPrivs:\t1\nSeccomp:\t0\ncode 1\n.*Operation not permitted\n0\ncode 125\n.*none=1`},
	{"shm-size", `run --shm-size 8m busybox df -m /dev/shm`, ` 8 `},
	{"sig-proxy", `$CLI run --rm --name signalled --network none busybox sh -c 'trap "echo got; exit 4" TERM; echo ready; while :; do sleep 0.05; done' >heard & pid=$!
		until grep -q ready heard; do sleep 0.05; done; kill %%; wait $pid || echo "code $?"; cat heard`, `(?s)code 4\nready\ngot`},
	{"stop-signal", `$CLI run -d --name stopped --network none --stop-signal USR1 --stop-timeout 20 busybox sh -c 'trap "exit 7" USR1; echo ready; while :; do sleep 0.05; done' >/dev/null
		until $CLI logs stopped | grep -q ready; do sleep 0.05; done; $CLI stop stopped >/dev/null; $CLI inspect -f '{{.State.ExitCode}} {{.Config.StopTimeout}}' stopped; $CLI rm stopped >/dev/null; refused run --stop-signal NONE busybox true`,
		`(?s)^7 20\ncode 125\n.*(?i)invalid signal: NONE`},
	{"stop-timeout", ``, ``}, // in the row of stop-signal
	{"storage-opt", `refused run --storage-opt size=100m busybox true; refused run --storage-opt none=1 busybox true`, `(?s)(code 0|prjquota).*code 125\n.*none`},
	{"sysctl", `net --sysctl net.core.somaxconn=77 --sysctl kernel.msgmax=9000 busybox cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax; refused run --sysctl vm.swappiness=1 busybox true`, `(?s)^77\n9000\n.*code 125\n.*vm\.swappiness`},
	{"tmpfs", `run --tmpfs /t:size=1m,mode=1770,uid=5,exec busybox sh -c 'mount | grep " /t "; ls -ldn /t'`, `size=1024k,mode=1770,uid=5.*\n(?s).*drwxrwx--T +2 5 `},
	{"tty", `script -qec "$CLI run --rm -t --network none busybox tty" /dev/null </dev/null`, `/dev/pts/0`},
	{"ulimit", `run --ulimit nofile=99:100 --ulimit core=0 busybox sh -c 'ulimit -n; ulimit -Hn; ulimit -c'; refused run --ulimit none=1 busybox true`, `(?s)^99\n100\n0\n.*code 125\n.*none`},
	{"use-api-socket!", `refused run --use-api-socket busybox true`, `(?s)code 125\n.*--use-api-socket`},
	{"user", `run -u app busybox id; run -u 4000:5000 busybox id; refused run -u none busybox true; refused run -u 2147483648 busybox true`, `(?s)^uid=1000\(app\) gid=1000\(app\) groups=1000\(app\),2000\(extra\)\nuid=4000 gid=5000 .*unable to find user none.*code 125\n.*2147483648`},
	{"userns", `[ "$(run --userns host busybox busybox readlink /proc/self/ns/user)" = "$(readlink /proc/self/ns/user)" ] && echo same; refused run --userns none-such busybox true`, `(?s)^same\ncode 125\n.*invalid USER mode`},
	{"uts", `[ "$(run --uts host busybox hostname)" = "$(hostname)" ] && echo same; refused run --uts host -h x busybox true`, `(?s)^same\ncode 125\n.*hostname and the UTS mode`},
	{"volume", `run -v $DIR:/b:ro -v flagsvolume:/bin:nocopy -v /anonymous busybox true >out 2>&1 || grep -c 'not found' out; run -v flagsvolume:/v busybox ls -A /v; run -v flagsvolume:/etc busybox true; run -v flagsvolume:/v busybox ls /v; $CLI volume rm flagsvolume >/dev/null
		refused run -v $DIR:relative busybox true; refused run -v $DIR:/b:none busybox true`, `(?s)^1\ngroup\n.*passwd\n.*code 125\n.*must be absolute\n.*code 125\n.*invalid mode: none`},
	{"volume-driver", `run --volume-driver local -v flagsvolume:/v busybox true; $CLI volume inspect -f '{{.Driver}}' flagsvolume; $CLI volume rm flagsvolume >/dev/null; refused run --volume-driver none -v flagsvolume:/v busybox true`, `(?s)^local\ncode 125\n.*none`},
	{"volumes-from", `id=$($CLI create -v /given busybox true); run --volumes-from $id busybox touch /given/a; refused run --volumes-from $id:ro busybox touch /given/b; $CLI rm -v $id >/dev/null; refused run --volumes-from none busybox true`, `(?s)code 1\n.*Read-only file system\n.*code 125\n.*No such container: none`},
	{"workdir", `run -w /new/folder busybox pwd; refused run -w relative busybox true`, `(?s)^/new/folder\n.*code 125\n.*absolute`},
}

// mountEffects are the options of --mount, in the same form.
var mountEffects = []struct{ flag, commands, want string }{
	{"type=bind", `refused run --mount type=bind,src=$DIR/none,dst=/b busybox true`, `(?s)code 125\n.*bind source path does not exist`},
	{"bind-propagation", `refused run --mount type=bind,src=$DIR,dst=/b,bind-propagation=none busybox true; mount -t tmpfs flags $DIR/below; mount --make-private $DIR/below
		refused run --mount type=bind,src=$DIR/below,dst=/b,bind-propagation=rshared busybox true; refused run --mount type=bind,src=$DIR/below,dst=/b,bind-propagation=rslave busybox true
		mount --make-shared $DIR/below; mkdir $DIR/below/in $DIR/below/out
		id=$($CLI run -d --network none --privileged --mount type=bind,src=$DIR/below,dst=/b,bind-propagation=rshared busybox sh -c 'mount -t tmpfs inner /b/in && echo mounted; sleep 100')
		until $CLI logs $id | grep -q mounted; do sleep 0.05; done; grep -c " $DIR/below/in .* inner " /proc/self/mountinfo; mount -t tmpfs outer $DIR/below/out; $CLI exec $id grep -c ' /b/out ' /proc/self/mountinfo
		slave=$($CLI run -d --network none --mount type=bind,src=$DIR/below,dst=/b,bind-propagation=rslave busybox sleep 100); mount -t tmpfs second $DIR/below/out; $CLI exec $slave grep -c ' second ' /proc/self/mountinfo
		$CLI rm -f $id $slave >/dev/null; umount -R $DIR/below`,
		`(?s)invalid propagation mode: none.*code 12[57]\n.*not a shared mount.*code 12[57]\n.*not a shared or slave mount.*\n1\n1\n1\n$`},
	{"bind-recursive", `mount -t tmpfs flags $DIR/below; for how in enabled disabled writable readonly; do
		run --mount type=bind,src=$DIR,dst=/b,readonly,bind-propagation=rprivate,bind-recursive=$how busybox sh -c 'touch /b/below/x 2>/dev/null && echo writes; grep -cE " /b( |/below )" /proc/self/mountinfo' || true; done; umount $DIR/below`,
		`^2\n1\nwrites\n2\n2\n$`},
	{"volume-nocopy", `run --mount type=volume,src=fm,dst=/home,volume-nocopy busybox true; run -v fm:/v busybox ls /v; echo; run --mount type=volume,src=fm,dst=/home busybox true; run -v fm:/v busybox ls /v; $CLI volume rm fm >/dev/null`, `^\napp\n`},
	{"volume-subpath", `run -v fm:/v busybox mkdir -p /v/a/b; run --mount type=volume,src=fm,dst=/v,volume-subpath=a busybox ls /v; refused run --mount type=volume,src=fm,dst=/v,volume-subpath=../.. busybox true
		run -v fm:/v busybox ln -s /etc /v/out; refused run --mount type=volume,src=fm,dst=/v,volume-subpath=out busybox ls /v; $CLI volume rm fm >/dev/null`, `(?s)^b\ncode 125\n.*subpath must be a relative path.*code (125|126|127)\n`},
	{"volume-opt", `run --mount type=volume,src=fm,dst=/v,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=1m,volume-label=a=b busybox mount | grep ' /v '
		$CLI volume inspect -f '{{.Labels.a}}' fm; $CLI volume rm fm >/dev/null; refused run --mount type=volume,src=fm,dst=/v,volume-opt=none=1 busybox true`, `(?s)size=1024k.*\nb\ncode 125\n.*invalid option: "none"`},
	{"tmpfs", `run --mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700 busybox sh -c 'mount | grep " /t "; stat -c %a /t'; refused run --mount type=tmpfs,src=/a,dst=/t busybox true`, `(?s)size=1024k,mode=700.*\n700\ncode 125\n.*Source must not be specified`},
	{"image!", `run --mount type=image,src=busybox,dst=/i,image-subpath=etc busybox sh -c 'exec 2>&1; ls /i; touch /i/x' || true; refused run --mount type=image,src=busybox,dst=/i,image-subpath=../x busybox true`, `(?s)^group\npasswd\n.*Read-only file system\ncode 125\n.*relative path`},
	{"others", `for o in type=cluster,src=a,dst=/b type=npipe,src=a,dst=/b type=none,src=a,dst=/b; do refused run --mount $o busybox true; done; refused run --mount type=bind,src=/tmp,dst=/ busybox true
		refused run --mount type=bind,src=/tmp,dst=/b --mount type=tmpfs,dst=/b busybox true; refused run --mount type=bind,src=/tmp,dst=/b,none=1 busybox true`,
		`(?s)code 125\n.*cluster.*code 125\n.*npipe.*code 125\n.*mount type unknown.*code 125\n.*destination can't be '/'.*code 125\n.*Duplicate mount point: /b.*code 125\n.*unexpected key 'none'`},
}

// TestEffects looks inside containers for the effect of every flag of run and of every option of --mount, with pier and with
// docker, and holds that there is none that is not looked for.
func TestEffects(t *testing.T) {
	for _, program := range []string{"pier", "docker"} {
		t.Run(program, func(t *testing.T) {
			d := lab.Start(t, bin)
			d.Pier("import", "-c", `CMD ["sh"]`, lab.Busybox(t, t.TempDir()), "busybox")
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "below"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "file"), []byte("in the folder\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			shell := func(commands string) string {
				command := bounded(effectPrelude + commands)
				cmd := exec.Command(command[0], command[1:]...)
				cmd.WaitDelay = 10 * time.Second // what is left of one that was ended may have its output
				cmd.Dir = t.TempDir()
				cmd.Env = append(d.Env(), "CLI="+program, "DIR="+dir, "PORT=0")
				out, err := cmd.CombinedOutput()
				if err != nil {
					return string(out) + "\n" + err.Error()
				}
				return string(out)
			}
			help := shell("$CLI run --help")
			known := regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z0-9-]+)`).FindAllStringSubmatch(help, -1)
			if len(known) < 80 {
				t.Fatalf("%s run --help shows %d flags\n%s", program, len(known), help)
			}
			for _, k := range known {
				if !slices.ContainsFunc(effects, func(f struct{ flag, commands, want string }) bool { return strings.TrimSuffix(f.flag, "!") == k[1] }) {
					t.Errorf("nobody looks for the effect of --%s", k[1])
				}
			}
			for _, f := range append(slices.Clone(effects), mountEffects...) {
				name, own := strings.CutSuffix(f.flag, "!")
				// An older docker lacks some flags; pier does not show those that it refuses.
				missing := program == "docker" && (own || !strings.Contains(help, "--"+name+" ") && !slices.Contains([]string{"help"}, name) && slices.Contains(effects, f))
				if f.commands == "" || missing {
					continue
				}
				if out := shell(f.commands); !regexp.MustCompile(f.want).MatchString(out) {
					t.Errorf("--%s: %s\nprints\n%s\nwant %s", name, f.commands, out, f.want)
				}
			}
			if left := d.Pier("ps", "-aq"); left != "" {
				t.Errorf("containers left: %s", left)
			}
		})
	}
}
