#!/usr/bin/env bash
# Deploys the synthesized dev stacks to moto's CloudFormation, and lets the real binary provision, resize and delete a user
# on what that made, with nothing but the settings that the stacks give it. Needs infra/cdk.out (infra/check.sh makes it).
# Says what the emulator could not make, and fails when infra/README.md says something else.
set -euo pipefail
cd "$(dirname "$0")/../.."
assembly=${INFRA_ASSEMBLY:-infra/cdk.out}
if [ ! -e "$assembly/manifest.json" ]; then
    echo "!!!!!!!! SKIPPED: no $assembly (infra/check.sh makes it), so the stacks were not deployed to an emulator" >&2
    exit 0
fi
. tests/servers.sh
start_moto
PYTHONPATH=tests/smoke "$venv/bin/python" -B tests/infra/deployed.py --binary "$binary" --endpoint "$endpoint" --work "$work" --assembly "$assembly"
