#!/usr/bin/env bash
# Runs the test suite under AddressSanitizer, with a minute of the rate limiter's stress test. Our code has no unsafe parts, so
# it finds faults of dependencies, as once in a rate limiter. CI does not run it: it builds everything again (about 4 GB
# below target/asan, a quarter of an hour on two cores).
# usage: tests/asan.sh [arguments of cargo nextest run]    such as -E 'test(/limiter/)'
set -euo pipefail
cd "$(dirname "$0")/.."
# The sanitizer is an unstable option whose runtime comes with stable Rust. With --target, build scripts go without it.
target=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/asan
# This looks for memory that is used after it was freed; memory that a process still holds at its end is no fault.
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:abort_on_error=1:${ASAN_OPTIONS:-}
export TORTURE_SECONDS=${TORTURE_SECONDS:-60}
exec cargo nextest run --locked --workspace --profile asan --target "$target" "$@"
