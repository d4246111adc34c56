#!/usr/bin/env bash
# Checks the real binary against its own OpenAPI document: schemathesis sends requests that the document allows and forbids,
# and checks each answer against it. Arguments go to `schemathesis run`.
set -euo pipefail
cd "$(dirname "$0")/../.."

. tests/servers.sh
bin=$(tests/venv.sh tests/openapi/requirements.txt)/bin
configuration=$PWD/tests/openapi/schemathesis.toml
export TOKEN=token-of-a-developer PYTHONPATH=$PWD/tests/openapi PYTHONDONTWRITEBYTECODE=1
# The emulator does not count calls, and a queue of registrations would only make it wait.
export PROVISIONER_RATE_LIMITS=task-definition-write=1000/1000,service-write=1000/1000
PROVISIONER_LOG=${PROVISIONER_LOG:-error} start_dev --token "$TOKEN"

# schemathesis keeps its findings in the directory where it runs.
cd "$work"
code=0
"$bin/schemathesis" --config-file "$configuration" run "$api/openapi.json" --checks all --no-color "$@" || code=$?
kill -0 "$server" || { echo "the service ended:"; cat "$work/out" "$work/err"; exit 1; }
if grep -E 'ERROR|panicked' "$work/out" "$work/err"; then code=1; fi
exit "$code"
