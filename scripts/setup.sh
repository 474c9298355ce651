#!/usr/bin/env bash
# Installs what a fresh Debian machine lacks. Usage: setup.sh run|test|arm64|race|bench
set -euo pipefail

[ "$(id -u)" = 0 ] || { echo "Pier needs root: run this as root, or with sudo" >&2; exit 1; }
command -v go >/dev/null || { echo "Go is missing: install Go 1.26 or newer (https://go.dev/dl) and put it on PATH" >&2; exit 1; }

declare -A needed=([git]=git [ps]=procps)
case "${1:-}" in
run) needed[curl]=curl ;;
test | race) needed+=([/bin/busybox]=busybox-static [docker]=docker.io [podman]=podman [dockerd]=docker.io [iptables-save]=iptables [runc]=runc [chromium]=chromium [npm]=npm [mmdebstrap]=mmdebstrap [ip]=iproute2 [nft]=nftables [criu]=criu [curl]=curl [qemu-system-x86_64]=qemu-system-x86 [mke2fs]=e2fsprogs [mkfs.xfs]=xfsprogs [zsh]=zsh [fish]=fish [/usr/share/bash-completion/bash_completion]=bash-completion) ;;
arm64) needed+=([/bin/busybox]=busybox-static [qemu-system-aarch64]=qemu-system-arm [mke2fs]=e2fsprogs [mkfs.xfs]=xfsprogs) ;;
bench) needed+=([ip]=iproute2 [/bin/busybox]=busybox-static [dockerd]=docker.io [bwrap]=bubblewrap [iptables]=iptables) ;;
*) echo "usage: setup.sh run|test|arm64|race|bench" >&2; exit 2 ;;
esac

[ "${1:-}" != race ] || needed+=([gcc]=gcc [/usr/include/stdlib.h]=libc6-dev)

missing=()
for command in "${!needed[@]}"; do
	case $command in
	/*) [ -e "$command" ] ;; # a file, a program or not
	*) command -v "$command" >/dev/null ;;
	esac || missing+=("${needed[$command]}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "Installing ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
# A package that wants to start a service (docker.io) must not: the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
