#!/usr/bin/env bash
# The real binary over a real socket against an AWS emulator that is not ours: provision, resize, redeploy, stop, start,
# delete, and kill -9 in between, each checked in what the emulator holds then.
#
#   tests/smoke.sh                                      against moto, started here
#   SMOKE_ENDPOINT=http://127.0.0.1:4566 tests/smoke.sh against one that runs already: LocalStack, or our own `dev`
#
# Prints a line for each check and "N passed, N failed" at the end; exits with 1 if one failed.
set -euo pipefail
cd "$(dirname "$0")/.."

. tests/servers.sh
if [ -z "${SMOKE_ENDPOINT:-}" ]; then
    start_moto
    echo "moto at $endpoint"
fi

"$venv/bin/python" tests/smoke/smoke.py --binary "$binary" --endpoint "${SMOKE_ENDPOINT:-$endpoint}" --work "$work"
