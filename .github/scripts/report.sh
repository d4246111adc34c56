#!/usr/bin/env bash
# usage: report.sh RELEASE
# Prints the text of the pull request that pins RELEASE: what is known of it, and what to do before and after the merge.
set -euo pipefail
cd "$(dirname "$0")/../.."
cat <<TEXT
The extended image of OpenClaw $1 is pushed, and the release was run over what this service stages.

\`\`\`
$(cargo run --quiet --locked -- version check --release "$1")
\`\`\`

Release notes: https://github.com/openclaw/openclaw/releases/tag/v$1

A merge changes nobody's container: the next deployment of an environment does, and then every user's next sign-in. "Upgrade
OpenClaw safely" in docs/operate.md says how to try it on some users first.
TEXT
