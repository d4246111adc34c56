#!/usr/bin/env bash
# Runs README.md's tour, word for word and in order, against `dev` of the real binary: its commands have to succeed and
# print what README.md shows (tour.py). `aws` is the AWS CLI that requirements.txt pins.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/servers.sh
start_dev --token dev
tools=$(tests/venv.sh tests/tour/requirements.txt)/bin
mkdir "$work/tour"
ln -s ../dev "$work/tour/.dev"
"$venv/bin/python" -B tests/tour/tour.py --readme README.md --binary "$binary" --tools "$tools" \
    --api "$api" --emulator "$endpoint" --work "$work/tour"
