#!/usr/bin/env bash
# Checks that our own emulator is like AWS: starts `dev`, sends one flow of AWS calls to it through boto3, and fails unless
# every row passes except those left out on purpose (check_rows.py says which and why).
set -euo pipefail
cd "$(dirname "$0")/../.."

. tests/servers.sh
# The flow reads what it has just changed, so stale reads are off; they have tests of their own.
start_dev --token dev --stale-reads 0
"$venv/bin/python" tests/emulator/aws_flow.py "$endpoint" --json "$work/rows.json"
"$venv/bin/python" tests/emulator/check_rows.py "$work/rows.json"
