#!/usr/bin/env bash
# compose.yaml without Docker: against the schema of the Compose specification, then its commands by hand (by_hand.py).
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${PROVISIONER_BINARY:-}
if [ -z "$binary" ]; then
    cargo build --quiet
    binary=${CARGO_TARGET_DIR:-target}/debug/openclaw-provisioner
fi
bin=$(tests/venv.sh)/bin
"$bin/check-jsonschema" --builtin-schema vendor.compose-spec compose.yaml
"$bin/python" -B tests/compose/by_hand.py --binary "$binary"
