# What is checked in the virtual machine. A function whose name begins with check_ is one check; they run in this order,
# each in a shell of its own with -ex: the first failing command fails the check, and its trace is what is shown.
#
#   sh checks.sh all       run them all; the last ones leave containers running for what comes
#   sh checks.sh after     run those that begin with after_, once the machine was started anew
#   sh checks.sh NAME      run one

export PIER_HOST=unix:///run/pier/pier.sock

# start_pierd starts pierd in a session of its own, as a service manager does, and waits until it answers.
start_pierd() {
	setsid pierd --data-root /data/pier >>/run/pierd.log 2>&1 </dev/null &
	eventually pier version
}

# eventually runs a command until it succeeds.
eventually() {
	for _ in $(seq 1200); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.1
	done
	"$@"
}

# code runs a command and prints its exit code.
code() {
	local n=0
	"$@" >/dev/null 2>&1 || n=$?
	echo $n
}

# alone waits until pierd, and the supervisor where that was killed too, are gone.
alone() {
	while pidof pierd || { [ "${1:-}" = both ] && [ -n "$(supervisor)" ]; }; do sleep 0.1; done
	sleep 1
}

supervisor() { ps -o pid,args | grep '[p]ier-runtime supervise' | { read -r pid rest && echo "$pid"; }; }

group() { echo /sys/fs/cgroup$(pier inspect -f '{{.HostConfig.CgroupParent}}' "$1" | sed 's/^$/\/pier/')/$(pier inspect -f '{{.Id}}' "$1"); }

check_start() {
	start_pierd
	pier info
	pier import /busybox.tar busybox
	pier images
}

check_run() {
	[ "$(pier run --rm busybox echo hello)" = hello ]
	[ "$(echo typed | pier run --rm -i busybox cat)" = typed ]
	[ "$(pier run --rm --network none busybox ls /sys/class/net)" = lo ]
	[ -z "$(pier ps -aq)" ]
}

check_exit_codes() {
	[ "$(code pier run --rm busybox sh -c 'exit 7')" = 7 ]
	[ "$(code pier run --rm busybox sh -c 'sh -c "kill -9 \$\$"; exit $?')" = 137 ]
	[ "$(code pier run --rm busybox /nothing)" = 127 ]
	[ "$(code pier run --rm busybox /etc)" = 126 ]
	[ "$(code pier run --rm --pull never nothing true)" = 125 ]
}

check_life() {
	pier run -d --name life busybox sleep 1000
	[ "$(pier exec life id -u)" = 0 ]
	[ "$(pier exec -u app life id -un)" = app ]
	[ "$(code pier exec life sh -c 'exit 3')" = 3 ]
	pier stop -t 0 life
	[ "$(pier inspect -f '{{.State.Status}} {{.State.ExitCode}}' life)" = "exited 137" ]
	pier start life
	pier kill -s TERM life
	pier kill life
	[ "$(pier wait life)" = 137 ]
	pier rm life
	[ "$(code pier inspect life)" = 1 ]
}

check_isolation() {
	pier run --rm busybox sh -exc '
		[ $$ = 1 ]
		[ "$(hostname)" != vm ]
		[ "$(cat /proc/self/cgroup)" = 0::/ ]
		! mount -t tmpfs none /tmp
		! touch /proc/sys/kernel/domainname
		! touch /sys/x
		[ -z "$(cat /proc/keys)" ]
		grep -q "^Seccomp:.2" /proc/self/status
		[ "$(stat -f -c %T /)" != tmpfs ]
		! mkdir /sys/fs/cgroup/x
		grep "^CapEff:.00000000a80425fb" /proc/self/status'
}

check_limits() {
	pier run -d --name limits -m 64m --memory-swap 64m --cpus 0.5 --pids-limit 33 --cpuset-cpus 1 busybox sleep 1000
	[ "$(pier exec limits cat /sys/fs/cgroup/memory.max)" = 67108864 ]
	[ "$(pier exec limits cat /sys/fs/cgroup/cpu.max)" = "50000 100000" ]
	[ "$(pier exec limits cat /sys/fs/cgroup/pids.max)" = 33 ]
	[ "$(pier exec limits cat /sys/fs/cgroup/cpuset.cpus)" = 1 ]
	[ "$(cat "$(group limits)/pids.max")" = 33 ]
	pier rm -f limits
	pier run -d --name alone --pids-limit 1 busybox sleep 1000
	pier exec alone true 2>&1 | grep -q 'as many processes as a limit allows: raise it (--pids-limit'
	pier rm -f alone
}

check_memory() {
	[ "$(code pier run --name memory -m 24m --memory-swap 24m busybox sh -c 'tail /dev/zero')" = 137 ]
	[ "$(pier inspect -f '{{.State.OOMKilled}}' memory)" = true ]
	pier rm memory
}

check_devices() {
	pier run --rm busybox sh -exc '
		echo >/dev/null
		head -c 1 /dev/zero
		mknod /tmp/kmsg c 1 11
		! head -c 1 /tmp/kmsg
		mknod /tmp/vda b 254 0
		! head -c 1 /tmp/vda'
	pier run --rm --device /dev/vda busybox head -c 1 /dev/vda
	[ "$(code pier run --rm --device /dev/vda:/dev/vda:r busybox dd if=/dev/zero of=/dev/vda count=0 conv=notrunc)" = 1 ]
	pier run --rm --privileged busybox head -c 1 /dev/vda
}

check_pause() {
	pier run -d --name pause busybox sh -c 'while :; do sleep 0.01; done'
	pier pause pause
	[ "$(pier inspect -f '{{.State.Status}}' pause)" = paused ]
	grep -q "frozen 1" "$(group pause)/cgroup.events"
	[ "$(code timeout 5 pier exec pause true)" != 0 ]
	pier unpause pause
	pier exec pause true
	pier rm -f pause
}

check_logs() {
	pier run --name logs busybox sh -c 'echo out; echo err >&2'
	[ "$(pier logs logs 2>/dev/null)" = out ]
	[ "$(pier logs logs 2>&1 >/dev/null)" = err ]
	pier rm logs
}

check_terminal() {
	[ "$(pier run --rm -t busybox tty | tr -d '\r')" = /dev/pts/0 ]
	pier run --rm -t busybox sh -exc '[ -c /dev/console ]; echo seen >/dev/console'
	pier run -d -t --name terminal busybox sh
	[ "$(pier exec -t terminal tty | tr -d '\r')" = /dev/pts/1 ]
	pier rm -f terminal
}

check_network() {
	pier run -d --name web -p 8080:80 busybox sh -c 'echo page >/index.html; exec httpd -f -h /'
	address=$(pier inspect -f '{{.NetworkSettings.Networks.bridge.IPAddress}}' web)
	eventually wget -q -O - http://10.0.2.15:8080/index.html
	[ "$(wget -q -O - http://127.0.0.1:8080/index.html)" = page ]
	[ "$(pier run --rm busybox wget -q -O - "http://$address/index.html")" = page ]
	# outbound, through NAT: the server knows no container's address
	[ "$(pier run --rm busybox nc 10.0.2.100 7 </dev/null)" = outside ]
	pier rm -f web
	[ "$(code wget -q -O - http://127.0.0.1:8080/index.html)" = 1 ]
}

check_files() {
	mkdir -p /data/bind && echo host >/data/bind/file
	[ "$(pier run --rm -v /data/bind:/bind busybox cat /bind/file)" = host ]
	[ "$(code pier run --rm -v /data/bind:/bind:ro busybox touch /bind/x)" = 1 ]
	pier run --rm -v named:/v busybox sh -c 'echo kept >/v/file'
	[ "$(pier run --rm -v named:/v busybox cat /v/file)" = kept ]
	[ "$(code pier run --rm --read-only busybox touch /x)" = 1 ]
	pier run --rm --read-only --tmpfs /scratch busybox touch /scratch/x
	pier run --rm --shm-size 1m busybox df /dev/shm
}

check_storage_size() {
	pier run --name sized --storage-opt size=8m busybox sh -c 'dd if=/dev/zero of=/big bs=1M count=4 && ! dd if=/dev/zero of=/more bs=1M count=8'
	pier start -a sized # the limit is the container's, not a run's
	pier rm sized
	# Its root may not take its files out of what is counted, by no way that it may have without the limit.
	programs='-v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro'
	leave='dd if=/dev/zero of=/big bs=1M count=4; chattr -P /; chattr -p 0 / /big && dd if=/dev/zero of=/more bs=1M count=8'
	[ "$(code pier run --rm --storage-opt size=8m $programs busybox sh -c "$leave")" = 1 ]
	pier run --rm --storage-opt size=8m --security-opt seccomp=unconfined $programs busybox sh -c "$leave"
	pier run --rm busybox dd if=/dev/zero of=/big bs=1M count=16
}

check_volume_size() {
	pier volume create -o size=8m bounded
	[ "$(pier volume inspect -f '{{.Options.size}}' bounded)" = 8m ]
	pier run --rm -v bounded:/v busybox sh -c 'dd if=/dev/zero of=/v/big bs=1M count=4 && ! dd if=/dev/zero of=/v/more bs=1M count=8'
	[ "$(pier run --rm -v bounded:/v busybox df -m /v | awk 'END { print $2 }')" = 8 ]
	# Nobody takes the content out of what is counted, neither the first process nor another one.
	programs='-v /usr:/usr:ro -v /lib:/lib:ro -v /lib64:/lib64:ro'
	leave='chattr -P /v; chattr -p 0 /v /v/big && dd if=/dev/zero of=/v/left bs=1M count=8'
	pier run -d --name guest -v bounded:/v $programs busybox sleep 1000
	[ "$(code pier run --rm --volumes-from guest busybox sh -c "$leave")" = 1 ]
	[ "$(code pier exec guest sh -c "$leave")" = 1 ]
	pier run --rm --volumes-from guest --security-opt seccomp=unconfined busybox sh -c "$leave"
	pier rm -f guest
	pier volume rm bounded
	# What comes of the image counts; the size is gone with the volume.
	mount=type=volume,src=bounded,dst=/etc,volume-opt=size=2m
	pier run --rm --mount $mount busybox sh -c 'test -e /etc/passwd && ! dd if=/dev/zero of=/etc/big bs=1M count=4'
	pier volume rm bounded
	pier run --rm -v bounded:/v busybox dd if=/dev/zero of=/v/big bs=1M count=16
	pier volume rm bounded
}

# The same limits on XFS, where an overlay over a full project can be mounted without more ado.
check_xfs() {
	mkdir /xfs
	mount -t xfs -o prjquota /dev/vdb /xfs
	( PIER_QUOTA_DIR=/xfs /tests/rooms/quota.test -test.v -test.run '^Test(Limit|ReleaseForged)$' )
	roots='--data-root /xfs/pier --exec-root /run/pier-xfs --cgroup-parent /pier-xfs --bridge none'
	setsid pierd $roots >>/run/pierd.log 2>&1 </dev/null &
	export PIER_HOST=unix:///run/pier-xfs/pier.sock
	eventually pier version
	pier info | grep -i xfs
	pier import /busybox.tar busybox
	check_storage_size
	check_volume_size
	pierd cleanup --data $roots
	umount /xfs
}

check_secrets() {
	echo of the file >/run/word
	[ "$(pier run --rm --secret src=/run/word -u 5:6 busybox sh -c 'cat /run/secrets/word; stat -c "%u:%g %a" /run/secrets/word')" = "$(printf 'of the file\n5:6 400')" ]
	[ "$(code pier run --rm --secret src=/run/word busybox touch /run/secrets/word)" = 1 ]
	eventually sh -c '! grep secrets /proc/self/mountinfo' # it goes with the container's folder, behind its end
}

check_init() {
	[ "$(pier run --rm --init busybox sh -c 'cat /proc/1/comm; echo $$')" = "$(printf 'docker-init\n2')" ]
	[ "$(code pier run --rm --init busybox sh -c 'exit 7')" = 7 ]
	[ "$(code pier run --rm --init busybox /nothing)" = 127 ]
}

check_networks_of_the_running() {
	pier network create more
	pier run -d --name moving -p 8090:80 busybox sh -c 'echo here >/index.html; httpd -f -p 80'
	pier network connect more moving
	[ "$(pier exec moving ls /sys/class/net | wc -l)" = 3 ]
	pier network disconnect bridge moving
	eventually wget -qO- http://127.0.0.1:8090/
	[ "$(wget -qO- http://127.0.0.1:8090/)" = here ]
	pier rm -f moving
	pier network rm more
}

check_build() {
	mkdir -p /data/context && cd /data/context
	echo one >file
	{
		echo 'FROM busybox AS first'
		echo 'RUN echo made >/made && rm /etc/group && mkdir -p /dir/sub'
		echo 'COPY file /file'
		echo 'RUN rm -r /dir && mkdir /dir && echo new >/dir/new'
		for n in $(seq 20); do echo "RUN echo $n >/layer$n"; done
		echo 'FROM first'
		echo 'COPY --from=first /made /copied'
		echo 'RUN --mount=type=tmpfs,target=/t --mount=type=cache,target=/c touch /t/x /c/y'
		echo 'CMD ["cat", "/file", "/made", "/copied", "/dir/new", "/layer1", "/layer20"]'
	} >Dockerfile
	pier build -t built .
	[ "$(pier run --rm built | tr '\n' ' ')" = "one made made new 1 20 " ]
	[ "$(code pier run --rm built cat /etc/group)" = 1 ]
	[ "$(pier run --rm built ls /dir)" = new ]
	pier build -t again .
	[ "$(pier inspect -f '{{.Id}}' built)" = "$(pier inspect -f '{{.Id}}' again)" ]
	echo two >file
	pier build -t changed .
	[ "$(pier run --rm changed cat /file /made | tr '\n' ' ')" = "two made " ]
	pier save -o /data/saved.tar built
	pier rmi built again changed
	pier load -i /data/saved.tar
	[ "$(pier run --rm built cat /layer20)" = 20 ]
	pier rmi built
	[ "$(code pier build - <<-X
		FROM busybox
		RUN exit 9
	X
	)" != 0 ]
}

# A whole Debian under systemd, which divides a cgroup of its own. Its tar is the third disk of one machine; to
# have it in both would take a minute more.
check_systemd() {
	pier import -c 'CMD ["/sbin/init"]' - debian </dev/vdc
	pier run -d --name machine -m 256m --pids-limit 300 debian
	eventually pier exec machine systemctl show-environment
	[ "$(pier exec machine systemctl is-system-running --wait)" = running ]
	[ "$(pier exec machine systemctl is-active lighttpd cron | tr '\n' ' ')" = "active active " ]
	top=$(group machine)
	grep -q . "$top/payload/system.slice/cron.service/cgroup.procs"
	pier exec machine sh -c 'echo max >/sys/fs/cgroup/memory.max; echo max >/sys/fs/cgroup/pids.max' # those of the payload
	[ "$(cat "$top/memory.max") $(cat "$top/pids.max")" = "268435456 300" ]
	[ "$(pier exec machine cat /proc/1/cgroup /proc/self/cgroup | tr '\n' ' ')" = "0::/init.scope 0::/init.scope " ]
	pier pause machine
	grep -q "frozen 1" "$top/cgroup.events"
	pier unpause machine
	pier top machine | grep -q lighttpd
	pier stop -t 100 machine
	[ "$(pier inspect -f '{{.State.ExitCode}}' machine)" = 0 ]
	eventually [ ! -e "$top" ] # the supervisor forgets a container behind its end
	pier rm machine
	pier rmi debian
}

# ticking starts a container that prints numbers, survives what comes, and ends with code 5 when /end appears.
ticking() {
	pier run -d --name "$1" busybox sh -c 'n=0; while [ ! -e /end ]; do n=$((n+1)); echo $n; sleep 0.1; done; exit 5'
}

# finish has it end, perhaps before the program that does it has.
finish() {
	pier exec "$1" touch /end || [ $? = 137 ]
}

# unbroken checks that every number was logged once.
unbroken() {
	pier logs "$1" >/run/numbers
	seq "$(wc -l </run/numbers)" | cmp - /run/numbers
}

# pierd is the parent of a supervisor that it has started: what that leaves behind is pierd's to reap.
check_kill_supervisor() {
	ticking crash2
	old=$(supervisor)
	kill -9 "$old"
	eventually pier exec crash2 true
	[ "$(supervisor)" != "$old" ]
	finish crash2
	[ "$(pier wait crash2)" = 5 ]
	unbroken crash2
	pier rm crash2
}

check_restart() {
	ticking restart
	kill -TERM "$(pidof pierd)"
	alone
	start_pierd
	[ "$(pier inspect -f '{{.State.Status}}' restart)" = running ]
	finish restart
	[ "$(pier wait restart)" = 5 ]
	unbroken restart
	pier rm restart
}

check_kill_pierd() {
	ticking crash1
	kill -9 "$(pidof pierd)"
	alone
	start_pierd
	[ "$(pier inspect -f '{{.State.Status}}' crash1)" = running ]
	finish crash1
	[ "$(pier wait crash1)" = 5 ]
	unbroken crash1
	pier rm crash1
}

# After both have died the container is nobody's child. Linux >= 6.15 still tells its exit code to who holds its pidfd;
# before that it is recorded as unknown, 255, and never invented.
check_kill_both() {
	ticking crash3
	kill -9 "$(pidof pierd)" "$(supervisor)"
	alone both
	start_pierd
	[ "$(pier inspect -f '{{.State.Status}}' crash3)" = running ]
	eventually finish crash3
	got=$(pier wait crash3)
	version=$(uname -r)
	minor=${version#*.}
	if [ "${version%%.*}" -gt 6 ] || [ "${version%%.*}" = 6 ] && [ "${minor%%.*}" -ge 15 ]; then
		[ "$got" = 5 ]
	else
		[ "$got" = 5 ] || [ "$got" = 255 ]
	fi
	unbroken crash3
	pier rm crash3
	# and Pier goes on as if nothing had been
	[ "$(code pier run --rm busybox sh -c 'exit 6')" = 6 ]
}

# counting is what a container runs to show that it goes on where it was: numbers in its log, and the last one in a file.
counting='i=0; while :; do i=$((i + 1)); echo $i; echo $i >/number; sleep 0.1; done'

# counted says that a container has come to a number.
counted() { [ "$(pier logs "$1" | tail -n 1)" -ge "$2" ]; }

# without_gap wants the numbers from one on, each once.
without_gap() {
	pier logs "$1" >/run/numbers
	seq "$2" "$(tail -n 1 /run/numbers)" | cmp - /run/numbers
}

address() { pier inspect -f '{{with .NetworkSettings.Networks.bridge}}{{.IPAddress}} {{.MacAddress}}{{end}}' "$1"; }

# It comes behind those that want a supervisor which is pierd's own child: it leaves another one.
check_checkpoint() {
	pier run -d --name cold --restart always --memory 64m -p 8090:80 -v cold:/vol --health-cmd true --health-interval 1s busybox sh -c "$counting"
	eventually counted cold 5
	before=$(address cold)
	pier checkpoint create --leave-running cold warm
	[ "$(pier checkpoint ls --format '{{.Name}}' cold)" = warm ]
	pier exec -d cold sleep 4321
	pier checkpoint create --checkpoint-dir /data/checkpoints cold one
	[ "$(pier inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' cold)" = "exited 137 0" ]
	last=$(pier logs cold | tail -n 1)
	[ "$(code pier checkpoint create cold two)" = 1 ]
	[ "$(code pier start --checkpoint two cold)" = 1 ]
	pier start --checkpoint one --checkpoint-dir /data/checkpoints cold
	eventually counted cold $((last + 5))
	without_gap cold 1
	[ "$(address cold)" = "$before" ]
	[ "$(pier exec cold ps | grep -c 'sleep 4321')" = 0 ]
	[ "$(pier exec cold cat /number)" -ge "$last" ]
	[ "$(cat $(group cold)/memory.max)" = 67108864 ]
	healthy() { [ "$(pier inspect -f '{{.State.Health.Status}}' cold)" = healthy ]; }
	eventually healthy
	pier stats --no-stream cold | grep cold

	# a second container, from the same checkpoint, while the first one runs: its log begins where it does
	pier create --name twin --memory 64m -v cold:/vol busybox sh -c "$counting"
	pier start --checkpoint one --checkpoint-dir /data/checkpoints twin
	eventually counted twin $((last + 5))
	without_gap twin $((last + 1))
	[ "$(address twin)" != "$before" ]

	# the restart policy and stop know them
	kill -9 "$(pier inspect -f '{{.State.Pid}}' cold)"
	again() { [ "$(pier inspect -f '{{.State.Status}} {{.RestartCount}}' cold)" = "running 1" ]; }
	eventually again
	pier stop -t 0 cold twin
	[ "$(pier inspect -f '{{.State.Status}}' cold twin | sort -u)" = exited ]

	# another host: the checkpoint, and an image of what the container has written
	pier commit twin moved
	pier save -o /run/moved.tar moved
	setsid pierd --data-root /data/other --exec-root /run/other --bridge pier1 --cgroup-parent /other >>/run/other.log 2>&1 </dev/null &
	other() { pier -H unix:///run/other/pier.sock "$@"; }
	eventually other version
	other load -i /run/moved.tar
	cp -r /data/checkpoints /data/other/carried
	other volume create cold
	other create --name elsewhere -v cold:/vol moved sh -c "$counting"
	other start --checkpoint one --checkpoint-dir /data/other/carried elsewhere
	further() { [ "$(other logs elsewhere | tail -n 1)" -ge $((last + 5)) ]; }
	eventually further
	[ "$(other logs elsewhere | head -n 1)" = $((last + 1)) ]
	other rm -f elsewhere
	pierd cleanup --data --data-root /data/other --exec-root /run/other --bridge pier1 --cgroup-parent /other

	# what is killed meanwhile lets the container go on
	pier start cold
	first=$(supervisor)
	for who in $first $(pidof pierd); do
		pier checkpoint create --leave-running cold third &
		sleep 0.3
		kill -9 "$who"
		wait $! || true
		[ "$who" = "$first" ] || { alone; start_pierd; }
		runs() { is cold "running 0" && pier exec cold true; }
		eventually runs
		pier checkpoint rm cold third || true
		[ "$(ls -A /data/pier/containers/"$(pier inspect -f '{{.Id}}' cold)"/checkpoints)" = warm ]
	done
	pier rm -f cold twin
	pier volume rm cold
	pier rmi moved
	rm -r /data/checkpoints /run/moved.tar
}

check_oci() {
	mkdir -p /data/bundle/rootfs && cd /data/bundle
	tar xf /busybox.tar -C rootfs
	pier-runtime spec
	sed -i 's/"terminal": true/"terminal": false/; s/"sh"/"sh", "-c", "touch \/made; exit 4"/' config.json
	sed -i 's/"readonly": true/"readonly": false/' config.json
	[ "$(code pier-runtime run bundle)" = 4 ]
	[ -e rootfs/made ]
	[ "$(pier-runtime list -q | wc -l)" = 0 ]
	rm -r /data/bundle
	rmdir /sys/fs/cgroup/pier-runtime
}

# room runs the tests of one package; of some those alone that ask most of the kernel, for all of them take minutes here:
# of custody the one whose crashes come at every moment. What is skipped counts on a fast machine.
room() {
	local which=.
	case $1-$(uname -m) in
	rooms/supervisor-aarch64) ;; # all of them, as no fast machine runs them on such a processor
	rooms/command-aarch64) which='^Test([^C]|Checkpoint[A-Z])' ;; # TestCheckpoint wants more of ip than busybox has
	rooms/custody-*) which=SupervisorKilledWhileWriting ;;
	rooms/volume-*) which='^TestSize' ;;
	rooms/supervisor-*) which='^TestCheckpoint' ;;
	rooms/command-*) which='^TestCheckpoint(InTwoSteps|OfTerminal|Forbidden)$' ;;
	programs/engine-*) which='^Test(Run|Exec|Stop|Init|SharedNamespaces|FailedStarts|Limits|KillNine|Step)$' ;;
	programs/crash-*) which='^(TestUpgrade|TestKillMatrix)$/^start$' ;; # what dies in other ways is among the checks above
	programs/oci-*) which='^TestFields$/^linux.resources' ;; # the rest is the same everywhere
	esac
	cd /tests
	PIER_QUOTA_DIR=/data PIER_TEST_VM=1 PIER_BIN=/pier "/tests/$1.test" -test.timeout 600s -test.run "$which"
}

# What is to be seen after a power cut. The names say what the machine's next start makes of them.
before_power_cut() {
	echo of the file >/run/word
	pier run -d --name web --restart always -p 8080:80 -v kept:/kept --secret src=/run/word --health-cmd 'test -e /index.html' --health-interval 1s \
		busybox sh -c 'echo start >>/kept/starts; echo page >/index.html; exec httpd -f -h /'
	pier run -d --name beside --restart always --network container:web busybox sleep 1000
	pier run -d --name unless --restart unless-stopped -m 64m busybox sleep 1000
	pier run -d --name failing --restart on-failure:3 busybox sh -c 'echo up; sleep 1000'
	pier run -d --name stopped --restart unless-stopped busybox sleep 1000
	pier stop -t 0 stopped
	pier run --name ended busybox sh -c 'echo words; exit 6' || true
	pier run -d --name lost busybox sleep 1000
	pier run -d --name paused busybox sleep 1000
	pier pause paused
	pier run -d --rm --name gone busybox sleep 1000
	pier create --name created busybox true
	pier volume create -o size=2m bounded
	pier run -d --name asleep busybox sh -c "$counting"
	eventually counted asleep 5
	pier ps -a
	cp /proc/sys/kernel/random/boot_id /data/boot_id
	sync # the words in logs and volumes, which are nobody's promise; records are on the disk already
	pier checkpoint create asleep winter # and so are checkpoints
	pier logs asleep | tail -n 1 >/data/asleep
	sync /data/asleep
}

status() { pier inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$1"; }

is() { [ "$(status "$1")" = "$2" ]; }

after_power_cut() {
	! cmp /proc/sys/kernel/random/boot_id /data/boot_id
	start_pierd
	for name in web beside unless failing; do
		eventually is $name "running 0" || { pier inspect -f '{{json .State}}' $name; return 1; }
	done
	is stopped "exited 137"
	is ended "exited 6"
	is lost "exited 255" # nobody can know
	is paused "exited 255"
	is created "created 0"
	[ "$(code pier inspect gone)" = 1 ]
	[ "$(pier logs ended)" = words ]
	[ "$(pier logs failing | tail -n 1)" = up ]
	twice() { [ "$(pier run --rm -v kept:/kept busybox wc -l /kept/starts | cut -d' ' -f1)" = 2 ]; }
	eventually twice
	pier run --rm -v bounded:/v busybox sh -c '! dd if=/dev/zero of=/v/big bs=1M count=4'
	pier volume rm bounded
	eventually wget -q -O - http://127.0.0.1:8080/index.html
	healthy() { [ "$(pier inspect -f '{{.State.Health.Status}}' web)" = healthy ]; }
	eventually healthy
	[ "$(pier exec web cat /run/secrets/word)" = "of the file" ]
	[ "$(pier exec beside wget -q -O - http://127.0.0.1/index.html)" = page ]
	[ "$(pier exec unless cat /sys/fs/cgroup/memory.max)" = 67108864 ]
	pier start lost
	pier exec lost true
	# made in this order, begun in this order; beside waits for web besides
	for row in "web beside" "web unless failing"; do
		pier inspect -f '{{.State.StartedAt}}' $row >/run/begun
		sort -c /run/begun
	done
	is asleep "exited 137"
	pier start --checkpoint winter asleep
	eventually counted asleep $(($(cat /data/asleep) + 5))
	[ "$(pier logs asleep | grep -c '^1$')" = 1 ] # it has not begun anew
	[ "$(ls /data/pier/containers | wc -l)" = 10 ]
	tasks() { [ "$(ls /run/pier/tasks | wc -l)" = 6 ]; }
	eventually tasks # one that has ended is forgotten behind its end
	pier rm -f web beside unless failing stopped ended lost paused created asleep
}

after_nothing_left() {
	pierd cleanup --data --data-root /data/pier
	gone() { ! pidof pierd pier-runtime; } # the first process reaps them
	eventually gone
	! grep -E 'overlay|/data/pier|/run/pier' /proc/self/mountinfo
	links() { [ "$(ls /sys/class/net | tr '\n' ' ')" = "eth0 lo " ]; } # the kernel takes namespaces down in the background
	eventually links
	[ -z "$(find /sys/fs/cgroup -mindepth 1 -type d)" ]
	[ ! -e /data/pier ]
	[ ! -e /run/pier ]
}

if [ "$1" != all ] && [ "$1" != after ]; then
	set -ex
	"$@"
	exit
fi
# report runs one check: its name and what to run.
report() {
	case "$1" in ${checks:-*}) ;; *) return ;; esac # set by PIER_VM_CHECKS
	echo "CHECK $1"
	local begin took result=0 name=$1
	shift
	begin=$(cut -d' ' -f1 /proc/uptime)
	timeout 600 sh "$0" "$@" >/run/check.log 2>&1 </dev/null || result=$?
	took=$(awk -v b="$begin" '{ printf "%.1f", $1 - b }' /proc/uptime)
	if [ $result = 0 ]; then
		echo "PASS $name $took s"
	else
		tail -n 300 /run/check.log | sed 's/^/  /'
		echo "--- pierd's log ends"
		[ ! -e /run/pierd.log ] || tail -n 15 /run/pierd.log | sed 's/^/  /'
		echo "FAIL $name $took s"
	fi
}

if [ "$1" = after ]; then
	for name in $(sed -n 's/^after_\([a-z0-9_]*\)() {.*/\1/p' "$0"); do
		report "after_$name" "after_$name"
	done
	exit
fi
for name in $(sed -n 's/^check_\([a-z0-9_]*\)() {.*/\1/p' "$0"); do
	[ "$name" != systemd ] || [ -b /dev/vdc ] || continue
	report "$name" "check_$name"
done
for test in /tests/*/*.test; do
	name=${test#/tests/}
	name=${name%.test}
	report "room_$(basename "$name")_$(dirname "$name")" room "$name"
done
report before_power_cut before_power_cut
