#!/usr/bin/env bash
# Checks the alert rules with promtool, and runs their tests. Without promtool, unpacks Debian's below target/, without
# installing Prometheus itself; if that is not possible, prints a warning and passes.
set -euo pipefail
cd "$(dirname "$0")"
unpacked=${CARGO_TARGET_DIR:-$PWD/../../target}/promtool

# Each command is chained: `set -e` has no effect in the condition of an `if`.
unpack() (
    download="apt-get download -qq -o APT::Sandbox::User=root prometheus"
    rm -rf "$unpacked" && mkdir -p "$unpacked" && cd "$unpacked" &&
        { $download || { apt-get update -qq && $download; }; } &&
        dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb
)

find_promtool() {
    type -P promtool && return
    if [ ! -x "$unpacked/usr/bin/promtool" ]; then
        unpack >&2 || return
    fi
    echo "$unpacked/usr/bin/promtool"
}

if ! found=$(find_promtool); then
    echo "!!!!!!!! SKIPPED: no promtool here and none to be had, so the alert rules were not checked" >&2
    exit 0
fi
"$found" check rules alerts.yaml
"$found" test rules alerts_test.yaml
