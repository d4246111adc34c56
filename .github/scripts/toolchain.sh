#!/usr/bin/env bash
# Installs and selects the Rust that Cargo.toml names as rust-version: what works here works for whoever has just that.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
[ -n "$version" ] || { echo "Cargo.toml: no rust-version" >&2; exit 1; }
rustup toolchain install "$version" --profile minimal --component clippy,rustfmt
rustup default "$version"
