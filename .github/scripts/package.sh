#!/usr/bin/env bash
# usage: package.sh BINARY NAME DIRECTORY
# Packs the binary, its manual pages and completions, and what has to go with it, into DIRECTORY/NAME.tar.gz.
set -euo pipefail
binary=$(realpath "$1") name=$2
mkdir -p "$3"
directory=$(realpath "$3")
cd "$(dirname "$0")/../.."
staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT
mkdir -p "$staged/$name/man" "$staged/$name/completions"
# With the documents that the README leads to.
cp -r LICENSE-APACHE LICENSE-MIT README.md SECURITY.md CHANGELOG.md docs "$staged/$name/"
install -m 755 "$binary" "$staged/$name/openclaw-provisioner"
"$binary" man "$staged/$name/man"
for shell in bash zsh fish; do "$binary" completions "$shell" >"$staged/$name/completions/openclaw-provisioner.$shell"; done
# The same input makes the same file.
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-0}" --directory "$staged" "$name" |
    gzip --no-name >"$directory/$name.tar.gz"
