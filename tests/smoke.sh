#!/usr/bin/env bash
# Tests the real binary over a real socket against AWS emulators that are not ours: provision, resize, redeploy, stop, start,
# delete, and kill -9 in between. After each it checks what the emulator holds.
#
#   tests/smoke.sh                                      against moto, then ministack, started here; `tests/smoke.sh moto` for one
#   SMOKE_ENDPOINT=http://127.0.0.1:4566 tests/smoke.sh against one that runs already: LocalStack, localemu (from PyPI), fakecloud (from crates.io), or our own `dev`
#
# Prints a line for each check and "N passed, N failed" at the end of each; exits with 1 if one failed.
set -euo pipefail
cd "$(dirname "$0")/.."

. tests/servers.sh
against() {
    mkdir -p "$work/$1"
    "$venv/bin/python" tests/smoke/smoke.py --binary "$binary" --endpoint "$2" --work "$work/$1"
}
if [ -n "${SMOKE_ENDPOINT:-}" ]; then
    against endpoint "$SMOKE_ENDPOINT"
    exit
fi
failed=0
[ $# -gt 0 ] || set -- moto ministack
for emulator; do
    "start_$emulator"
    echo "$emulator at $endpoint"
    against "$emulator" "$endpoint" || failed=1
    stop_server
done
exit "$failed"
