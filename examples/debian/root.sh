#!/usr/bin/env bash
# Makes a whole small Debian, with systemd and two services: a web server and cron. Usage: root.sh FILE.tar (a root file
# system, for `pier import`).
set -euo pipefail
out=$(realpath "${1:?usage: root.sh FILE.tar}")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
root=$work/root

mmdebstrap --quiet --variant=essential --include=systemd,systemd-sysv,dbus,cron,lighttpd \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$root"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
# What every copy of a system must have of its own is made by its first start.
: >"$root/etc/machine-id"
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
tar -C "$root" --numeric-owner -cf "$out.part" .
mv "$out.part" "$out"
