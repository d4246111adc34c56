#!/usr/bin/env bash
# Is our own emulator like AWS? Starts `dev`, runs one flow of AWS calls through boto3 over it, and fails unless every
# row passes that is not left out on purpose (check_rows.py says which and why).
set -euo pipefail
cd "$(dirname "$0")/../.."

. tests/servers.sh
# The flow asks for what it has just changed; stale reads have tests of their own.
start_dev --token dev --stale-reads 0
"$venv/bin/python" tests/emulator/aws_flow.py "$endpoint" --json "$work/rows.json"
"$venv/bin/python" tests/emulator/check_rows.py "$work/rows.json"
