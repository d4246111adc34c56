#!/usr/bin/env bash
# Deploys the synthesized dev stacks to moto's CloudFormation, and lets the real binary provision, resize and delete a user
# on what that made, with nothing but the settings that the stacks give it. Needs infra/cdk.out (infra/check.sh makes it).
# Says what the emulator could not make, and fails when infra/README.md says something else.
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=${PROVISIONER_BINARY:-${CARGO_TARGET_DIR:-target}/debug/openclaw-provisioner}
assembly=${INFRA_ASSEMBLY:-infra/cdk.out}
if [ ! -e "$assembly/manifest.json" ]; then
    echo "!!!!!!!! SKIPPED: no $assembly (infra/check.sh makes it), so the stacks were not deployed to an emulator" >&2
    exit 0
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

# A port that is free now; whoever takes it in between makes moto fail, and that is said.
port=$("$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$work/moto.log" 2>&1 </dev/null &
moto=$!
endpoint=http://127.0.0.1:$port
for attempt in $(seq 150); do
    if curl --silent --fail --output /dev/null "$endpoint/moto-api/data.json"; then break; fi
    if ! kill -0 "$moto" 2>/dev/null || [ "$attempt" = 150 ]; then
        echo "moto did not come up:" >&2
        cat "$work/moto.log" >&2
        exit 1
    fi
    sleep 0.2
done
PYTHONPATH=tests/smoke "$venv/bin/python" -B tests/infra/deployed.py --binary "$binary" --endpoint "$endpoint" --work "$work" --assembly "$assembly"
