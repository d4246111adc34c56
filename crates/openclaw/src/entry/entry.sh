#!/bin/sh
# Runs in the user's container before OpenClaw: imports a staged sign-in (import.mjs beside this file), then becomes the
# command. It is the task definition's `entryPoint`, so it replaces the image's own ENTRYPOINT and CMD. Its arguments are the
# command of the base definition, or nothing if the base leaves that to the image.

here=$(dirname -- "$0")

say() {
    printf 'openclaw-provisioner: %s\n' "$*" >&2
}

# The gateway as upstream's images start it (their CMD), or this image's CLI with the given arguments.
run_openclaw() {
    if [ -f openclaw.mjs ]; then
        exec node openclaw.mjs "$@"
    elif [ -f /app/openclaw.mjs ]; then
        exec node /app/openclaw.mjs "$@"
    elif cli=$(command -v openclaw); then
        exec "$cli" "$@"
    fi
    say "no OpenClaw in this image, cannot run: openclaw $*"
    exit 127
}

if command -v node >/dev/null 2>&1; then
    # A stop signal meanwhile waits for the import: half an import can cost the sign-in, a whole one takes seconds.
    stopped=
    trap 'stopped=1' TERM INT
    node "$here/import.mjs"
    code=$?
    trap - TERM INT
    [ -z "$stopped" ] || exit 143
    [ "$code" -eq 0 ] || exit "$code"
else
    say "no node in this image, so no sign-in is imported"
fi

case ${1-} in
    '') [ $# -eq 0 ] && run_openclaw gateway --allow-unconfigured ;;
    -*) run_openclaw "$@" ;;
esac
# `command: ["gateway", …]` was meant for the image's ENTRYPOINT, which this script replaced.
command -v "$1" >/dev/null 2>&1 || run_openclaw "$@"
exec "$@"
