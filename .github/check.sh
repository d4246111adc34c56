#!/usr/bin/env bash
# The workflows without GitHub: syntax and types (actionlint), what an attacker could make of them (zizmor), the tests of
# their scripts; and shellcheck over every shell script of the repository.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(tests/venv.sh)/bin

"$bin/actionlint" -shellcheck "$bin/shellcheck"
"$bin/zizmor" --offline --quiet .github
# Without it a step goes on after what fails before a pipe, and neither of the two tells.
for workflow in .github/workflows/*.yml; do
    grep -qx '    shell: bash' "$workflow" || { echo "$workflow: no defaults.run.shell: bash" >&2; exit 1; }
done
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard |
    while read -r file; do if head -n 1 "$file" 2>/dev/null | grep -qE '^#!.*\b(ba)?sh$'; then echo "$file"; fi; done)
[ "${#scripts[@]}" -gt 5 ]
"$bin/shellcheck" --external-sources "${scripts[@]}"
echo "the workflows and ${#scripts[@]} shell scripts have nothing wrong"
"$bin/python" -B .github/scripts/test_scripts.py
