#!/bin/sh
# The container's npm: there is no registry, but `npm install NAME@RANGE…` finds the packages that the release itself contains.
# Releases of 2026.4.24 – 4.29 ask for their plugins' packages this way at each start. Anything else fails at once: a real
# npm without a network would try for minutes, with the gateway waiting.
here() {
    for modules in /app/node_modules /node_modules; do
        [ -d "$modules/$1" ] && echo "$modules/$1" && return
    done
    echo "npm: no registry here, and no $1" >&2
    return 1
}

[ "${1-}" = install ] || { echo "npm: no registry here" >&2; exit 1; }
shift
for spec; do
    case $spec in -*) ;; *) here "${spec%@*}" >/dev/null || exit 1 ;; esac
done
for spec; do
    name=${spec%@*}
    case $spec in
        -*) ;;
        *) mkdir -p "$(dirname "node_modules/$name")" && ln -sfn "$(here "$name")" "node_modules/$name" ;;
    esac
done
