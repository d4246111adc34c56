#!/usr/bin/env bash
# Prints the directory of a Python virtual environment with the packages that a file pins (tests/smoke/requirements.txt, or the
# named file), and makes it first if needed. It is below target/, one for each content of that file and each Python.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
requirements=${1:-tests/smoke/requirements.txt}
key=$({ cat "$requirements"; "$python" --version; pwd; } | cksum | cut -d' ' -f1)
venv=${CARGO_TARGET_DIR:-$PWD/target}/venv-$key
if [ ! -e "$venv/complete" ]; then
    echo "making $venv" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$requirements" >&2
    touch "$venv/complete"
fi
echo "$venv"
