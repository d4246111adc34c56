#!/usr/bin/env bash
# Deploys the synthesized dev stacks, without and with roles of users' own, to moto's CloudFormation, and lets the real binary provision, resize and delete a user
# on what that made, with nothing but the settings that the stacks give it. Needs infra/cdk.out and infra/roles.out (infra/check.sh makes both).
# Says what the emulator could not make, and fails when infra/README.md says something else.
set -euo pipefail
cd "$(dirname "$0")/../.."
assembly=${INFRA_ASSEMBLY:-infra/cdk.out}
if [ ! -e "$assembly/manifest.json" ]; then
    echo "!!!!!!!! SKIPPED: no $assembly (infra/check.sh makes it), so the stacks were not deployed to an emulator" >&2
    exit 0
fi
. tests/servers.sh
for assembly in "$assembly" "${INFRA_ROLES_ASSEMBLY:-infra/roles.out}"; do
    echo "--- $assembly"
    start_moto
    mkdir "$work/$(basename "$assembly")"
    PYTHONPATH=tests/smoke "$venv/bin/python" -B tests/infra/deployed.py --binary "$binary" --endpoint "$endpoint" --work "$work/$(basename "$assembly")" --assembly "$assembly"
    stop_server
done
