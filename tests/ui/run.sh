#!/usr/bin/env bash
# Tests the operators' page of the real binary in a browser. Needs Node 20 or newer, npm and Debian's chromium, which it
# installs if it may; otherwise prints a loud warning and passes (unless UI_REQUIRED=1). Keeps screenshots in
# target/ui/screenshots.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}
modules=$target/ui
export PROVISIONER_BINARY=${PROVISIONER_BINARY:-$target/debug/openclaw-provisioner}
export UI_MODULES=$modules UI_SCREENSHOTS=$target/ui/screenshots

skip() {
    echo "!!!!!!!! SKIPPED: $1, so the operators' page was not tested in a browser" >&2
    [ "${UI_REQUIRED:-}" != 1 ] || exit 1
    exit 0
}

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then skip "no node or no npm here"; fi
find_chromium() { CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v google-chrome || true)}; }
find_chromium
if [ -z "$CHROMIUM" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium"
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium >/dev/null || true
    find_chromium
fi
[ -n "$CHROMIUM" ] || skip "no chromium here"
export CHROMIUM

mkdir -p "$modules" "$UI_SCREENSHOTS"
if ! cmp -s tests/ui/package-lock.json "$modules/installed-lock.json"; then
    cp tests/ui/package.json tests/ui/package-lock.json "$modules/"
    npm ci --prefix "$modules" --ignore-scripts --no-audit --no-fund --silent || skip "npm could not install playwright-core"
    cp tests/ui/package-lock.json "$modules/installed-lock.json"
fi
"$CHROMIUM" --version
node --test --test-concurrency=1 tests/ui/*.test.mjs
