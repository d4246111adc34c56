#!/usr/bin/env bash
# usage: URL=https://… TOKEN=… infra/redeploy-all.sh BASE_REVISION          such as openclaw-prod:41
#
# Takes the running containers that were made from BASE_REVISION to the newest base, one after another, and stops at the
# first that does not come up: what is broken is broken for one user then. Run it again to go on. Stopped containers stay
# as they are. TOKEN needs the scope provision; wants bash 4, curl and jq.
set -euo pipefail
if [ $# -ne 1 ] || [ -z "${URL:-}" ] || [ -z "${TOKEN:-}" ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
# The token by standard input: arguments can be read by everybody on the machine.
api() { curl --silent --show-error --config - -H 'Content-Type: application/json' "$@" <<<"header = \"Authorization: Bearer $TOKEN\""; }

# One list, and each of it once: a base of other number and same content changes nobody, so the list would not get empty.
users=() cursor=
while
    page=$(api --fail-with-body "$URL/containers?base_revision=$1&state=running&limit=1000&fresh=true${cursor:+&cursor=$cursor}")
    mapfile -t -O "${#users[@]}" users < <(jq -r '.containers[].user_id' <<<"$page")
    cursor=$(jq -r '.next_cursor // empty | @uri' <<<"$page")
    [ -n "$cursor" ]
do
    :
done

done=0
for user in "${users[@]}"; do
    api --fail-with-body --output /dev/null -X POST -d '{}' "$URL/containers/$user/redeploy"
    state=
    # 408 says that it is still on its way.
    for _ in {1..10}; do
        status=$(api "$URL/containers/$user/wait?state=running&timeout_seconds=60")
        state=$(jq -r .state <<<"$status")
        case $state in running | failed | stopped) break ;; esac
    done
    if [ "$state" != running ]; then
        echo "$user: $(jq -c '{state, reason, detail}' <<<"$status")" >&2
        echo "stopped after $done of ${#users[@]}; mend it (docs/runbook.md), or deploy the former base, and run this again" >&2
        exit 1
    fi
    done=$((done + 1))
    echo "$user: running"
done
unread=$(jq -r .snapshot.unread_definitions <<<"$page")
if [ "$unread" != 0 ]; then
    echo "$done redeployed; of $unread containers the revision is not known yet, so run this again in a few minutes" >&2
    exit 3
fi
echo "$done redeployed, none is left"
