#!/bin/busybox sh
# The virtual machine's first process: what Debian's own start would have done, then the checks, then power off.
export PATH=/pier:/bin:/usr/sbin HOME=/root
if [ "$1" != checks ]; then
	# In the initramfs. Its root is no mount that pivot_root(2) could replace, so everything moves to the disk.
	/bin/busybox --install -s /bin
	mount -t proc proc /proc
	mount -t devtmpfs dev /dev
	for module in /modules/*; do
		insmod "$module" || echo "INFO $module: not loaded"
	done
	mount -t ext4 -o prjquota /dev/vda /mnt
	if [ ! -e /mnt/checks.sh ]; then # else this is the second start
		cp -a /bin /etc /lib /lib64 /pier /tests /usr /init /busybox.tar /checks.sh /mnt/
		sync # a second start finds them, whatever the checks were
		cd /mnt && mkdir dev proc sys tmp run root data
	fi
	cd /mnt
	mount --move /dev /mnt/dev
	umount /proc
	exec switch_root /mnt /init checks
fi
mount --make-rshared / # as systemd does
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
hostname vm
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
echo "nameserver 10.0.2.3" >/etc/resolv.conf
echo "127.0.0.1 localhost" >/etc/hosts
echo "INFO Linux $(uname -r), $(cut -d. -f1 /proc/uptime) s after its first instruction"
sh /checks.sh "$stage"
echo DONE
# No file system is unmounted, no process told: for Pier it is a power cut.
echo o >/proc/sysrq-trigger
sleep 60
