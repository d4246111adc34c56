#!/usr/bin/env bash
# Checks the CDK app without AWS: types, lints, tests, synth of dev and of an environment that is not, cfn-lint, and the IAM policies
# against the service authorization reference. Needs Node 20 or newer and npm; says so loudly and passes where it cannot
# (not with INFRA_REQUIRED=1). Leaves the dev stacks in infra/cdk.out, and with users' own roles in
# infra/roles.out; tests/infra/run.sh deploys both to an emulator.
set -euo pipefail
cd "$(dirname "$0")"

skip() {
    echo "!!!!!!!! SKIPPED: $1, so the infrastructure was not checked" >&2
    [ "${INFRA_REQUIRED:-}" != 1 ] || exit 1
    exit 0
}

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then skip "no node or no npm here"; fi
if ! cmp -s package-lock.json node_modules/installed-lock.json; then
    if ! log=$(npm ci --ignore-scripts --no-audit --no-fund 2>&1); then
        # A lock file that does not match package.json is our error; an unreachable registry is not.
        ! grep -q EUSAGE <<<"$log" || { echo "$log"; exit 1; }
        skip "npm could not install what package-lock.json names"
    fi
    cp package-lock.json node_modules/installed-lock.json
fi
npx --no-install tsc --noEmit
npx --no-install biome check .
npm test --silent

account=arn:aws:secretsmanager:us-east-1:123456789012:secret
synth() {
    local output=$1 log
    shift
    rm -rf "$output"
    log=$(npx --no-install cdk synth --quiet --output "$output" "$@" 2>&1) || { echo "$log"; return 1; }
}
synth cdk.out -c env=dev -c provisionerTag=0.1.0 -c tokensSecretArn="$account:openclaw/dev/tokens-AbCdEf"
synth roles.out -c env=dev -c provisionerTag=0.1.0 -c tokensSecretArn="$account:openclaw/dev/tokens-AbCdEf" -c userRoles=true
# Prod is refused while openclaw-version.json has no image for it; then that is what has to be said.
if grep -q '"prod": *{ *"tag": *null' ../openclaw-version.json; then
    if refused=$(synth cdk.out/prod -c env=prod) || ! grep -q 'environments.prod.tag is null' <<<"$refused"; then
        echo "prod has no image and was not refused with the reason: $refused"
        exit 1
    fi
    rm -rf cdk.out/prod
    echo "prod is refused until it has an image"
fi
(cd cdk.out && echo "synthesized:" ./*.template.json)

# Lints also the parts that only strict environments have, whether or not there is an image for one.
rm -rf strict.out
node --import tsx test/strict-assembly.ts strict.out

venv=$(../tests/venv.sh)
"$venv/bin/cfn-lint" --regions us-east-1 eu-central-1 -- cdk.out/*.template.json roles.out/*.template.json strict.out/*.template.json
"$venv/bin/python" -B ../tests/infra/policies.py cdk.out roles.out strict.out
