#!/usr/bin/env bash
# Checks the alert rules with promtool, and runs their tests. Where there is no promtool, Debian's is unpacked below
# target/, without installing Prometheus itself; where that cannot be had either, it says so and passes.
set -euo pipefail
cd "$(dirname "$0")"
unpacked=${CARGO_TARGET_DIR:-$PWD/../../target}/promtool

# Each command is chained: `set -e` does not hold in what an `if` asks.
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
