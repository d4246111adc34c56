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

binary=${PROVISIONER_BINARY:-}
if [ -z "$binary" ]; then
    cargo build --quiet
    binary=${CARGO_TARGET_DIR:-target}/debug/openclaw-provisioner
fi
venv=$(tests/venv.sh)
work=$(mktemp -d)
moto=
finish() {
    if [ -n "$moto" ]; then
        kill "$moto" 2>/dev/null || true
        wait "$moto" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -z "${SMOKE_ENDPOINT:-}" ]; then
    # 4566 unless something listens there already: then it is not ours to talk to.
    port=$("$venv/bin/python" - <<'PY'
import socket
for port in (4566, 0):
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(free.getsockname()[1])
        break
PY
)
    "$venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$work/moto.log" 2>&1 </dev/null &
    moto=$!
    SMOKE_ENDPOINT=http://127.0.0.1:$port
    for attempt in $(seq 150); do
        if curl --silent --fail --output /dev/null "$SMOKE_ENDPOINT/moto-api/data.json"; then break; fi
        if ! kill -0 "$moto" 2>/dev/null || [ "$attempt" = 150 ]; then
            echo "moto did not come up:" >&2
            cat "$work/moto.log" >&2
            exit 1
        fi
        sleep 0.2
    done
    echo "moto at $SMOKE_ENDPOINT"
fi

"$venv/bin/python" tests/smoke/smoke.py --binary "$binary" --endpoint "$SMOKE_ENDPOINT" --work "$work"
