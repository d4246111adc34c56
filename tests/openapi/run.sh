#!/usr/bin/env bash
# Holds the real binary to its own OpenAPI document: schemathesis sends what the document allows and what it forbids, and
# checks each answer against it. Arguments go to `schemathesis run`.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=$(realpath "${PROVISIONER_BINARY:-${CARGO_TARGET_DIR:-$PWD/target}/debug/openclaw-provisioner}")
bin=$(tests/venv.sh tests/openapi/requirements.txt)/bin
directory=$(mktemp -d)
# The emulator does not count calls, and a queue of registrations would only make it wait.
export PROVISIONER_RATE_LIMITS=task-definition-write=1000/1000,service-write=1000/1000
export TOKEN=token-of-a-developer PYTHONPATH=$PWD/tests/openapi PYTHONDONTWRITEBYTECODE=1
configuration=$PWD/tests/openapi/schemathesis.toml

PROVISIONER_LOG=${PROVISIONER_LOG:-error} "$binary" dev --listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0 --dir "$directory/dev" --token "$TOKEN" \
    >"$directory/out" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; rm -rf "$directory"' EXIT
api=
for _ in $(seq 300); do
    api=$(sed -n 's/.* API \(http:[^ ]*\) .*/\1/p' "$directory/out")
    [ -z "$api" ] || break
    kill -0 "$server" 2>/dev/null || { cat "$directory/out"; exit 1; }
    sleep 0.1
done

code=0
# It keeps what it found in the directory where it runs.
cd "$directory"
"$bin/schemathesis" --config-file "$configuration" run "$api/openapi.json" --checks all --no-color "$@" || code=$?
kill -0 "$server" || { echo "the service ended"; cat "$directory/out"; exit 1; }
grep -E 'ERROR|panicked' "$directory/out" && code=1
exit "$code"
