#!/usr/bin/env bash
# usage: propose.sh RELEASE TAG REPORT
# Opens a pull request that pins OpenClaw's RELEASE, whose extended image was pushed as TAG; REPORT is its text. One
# proposal at a time, on one branch: a later one replaces it. Wants GH_TOKEN for `gh`, and git to be able to push.
set -euo pipefail
cd "$(dirname "$0")/../.."
release=$1 tag=$2 report=$3
branch=openclaw-version
title="Pin OpenClaw $release as $tag"

python3 .github/scripts/openclaw_version.py bump "$release" "$tag"
git add --all openclaw-version.json infra/openclaw docs
if git diff --cached --quiet; then
    echo "$tag is pinned already"
    exit 0
fi
git switch --quiet --force-create "$branch"
git -c user.name='github-actions[bot]' -c user.email='41898282+github-actions[bot]@users.noreply.github.com' \
    commit --quiet --message "$title"
git push --quiet --force origin "$branch"
open=$(gh pr list --head "$branch" --state open --json number --jq '.[0].number // empty')
if [ -n "$open" ]; then
    gh pr edit "$open" --title "$title" --body-file "$report"
else
    gh pr create --head "$branch" --title "$title" --body-file "$report"
fi
# What a workflow's own token pushes starts no workflow, except one that is asked for.
gh workflow run ci.yml --ref "$branch"
