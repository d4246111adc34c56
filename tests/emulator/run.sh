#!/usr/bin/env bash
# Is our own emulator like AWS? Starts `dev`, runs one flow of AWS calls through boto3 over it, and fails unless every
# row passes that is not left out on purpose (check_rows.py says which and why).
set -euo pipefail
cd "$(dirname "$0")/../.."

binary=${PROVISIONER_BINARY:-}
if [ -z "$binary" ]; then
    cargo build --quiet
    binary=${CARGO_TARGET_DIR:-target}/debug/openclaw-provisioner
fi
venv=$(tests/venv.sh)
work=$(mktemp -d)
dev=
finish() {
    if [ -n "$dev" ]; then
        kill "$dev" 2>/dev/null || true
        wait "$dev" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$binary" dev --listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0 --dir "$work/dev" >"$work/out" 2>"$work/err" </dev/null &
dev=$!
endpoint=
for _ in $(seq 150); do
    endpoint=$(sed -n 's/.*AWS emulator \(http:[^ ]*\).*/\1/p' "$work/out")
    if [ -n "$endpoint" ] || ! kill -0 "$dev" 2>/dev/null; then break; fi
    sleep 0.2
done
if [ -z "$endpoint" ]; then
    echo "dev did not come up:" >&2
    cat "$work/err" >&2
    exit 1
fi

"$venv/bin/python" tests/emulator/aws_flow.py "$endpoint" --json "$work/rows.json"
"$venv/bin/python" tests/emulator/check_rows.py "$work/rows.json"
