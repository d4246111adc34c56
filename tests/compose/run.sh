#!/usr/bin/env bash
# Checks compose.yaml without Docker: against the schema of the Compose specification, then runs its commands (by_hand.py).
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/servers.sh
"$venv/bin/check-jsonschema" --builtin-schema vendor.compose-spec compose.yaml
"$venv/bin/python" -B tests/compose/by_hand.py --binary "$binary"
