#!/usr/bin/env bash
# usage: decide.sh EVENT [RELEASE]
# Prints what openclaw_version.py decides, having asked for the newest release and for a proposal that is open. Wants
# GH_TOKEN for `gh`, and a clone that knows origin's branches.
set -euo pipefail
cd "$(dirname "$0")/../.."
event=$1 given=${2:-}
newest=
if [ "$event" != push ] && [ -z "$given" ]; then
    newest=$(gh api repos/openclaw/openclaw/releases/latest --jq .tag_name)
fi
proposal=$(mktemp)
trap 'rm -f "$proposal"' EXIT
git show origin/openclaw-version:openclaw-version.json >"$proposal" 2>/dev/null || cp openclaw-version.json "$proposal"
python3 .github/scripts/openclaw_version.py decide "$event" --given "$given" --newest "$newest" --proposal "$proposal"
