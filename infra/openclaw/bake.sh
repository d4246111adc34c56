#!/bin/sh
# Puts plugins and programs other than Debian's packages into the image. Runs as root, in OpenClaw's directory.
#   bake.sh release
#   bake.sh plugins [NAME@VERSION SHA256]…
#   bake.sh codex VERSION SHA256_AMD64 SHA256_ARM64    VERSION may be empty
set -eu

fail() {
    echo "bake.sh: $*" >&2
    exit 1
}

# fetch NAME@VERSION SHA256 DIRECTORY: downloads the package to DIRECTORY/package.tgz, and checks its sum.
fetch() {
    file=$(cd "$3" && npm pack --loglevel=error "$1")
    mv "$3/$file" "$3/package.tgz"
    echo "$2  $3/package.tgz" | sha256sum --check --quiet || fail "$1 is not what was pinned"
}

# Installs a plugin beside upstream's own, where OpenClaw trusts it and never changes it: OpenClaw installs plugins into the
# user's directory.
plugin() {
    work=$(mktemp -d)
    fetch "$1" "$2" "$work"
    name=${1%@*}
    echo '{"private": true}' >"$work/package.json"
    # As OpenClaw itself installs plugins: without scripts, and with the installed `openclaw` as their peer.
    npm install --prefix "$work" --omit=dev --omit=peer --legacy-peer-deps --ignore-scripts --no-audit --no-fund "$work/package.tgz"
    id=$(node -p 'require(process.argv[1]).id' "$work/node_modules/$name/openclaw.plugin.json")
    place=dist/extensions/$id
    [ ! -e "$place" ] || fail "this release has $id baked in already: leave $1 out of PLUGINS"
    mv "$work/node_modules/$name" "$place"
    mkdir -p "$place/node_modules"
    cp -a --no-clobber "$work/node_modules/." "$place/node_modules/"
    # OpenClaw requires that a plugin's files have the same owner as its own.
    chown -R --reference=dist "$place"
    # first-start.sh turns them on.
    echo "$id" >>baked-plugins
    rm -rf "$work"
}

codex() {
    own=$(find "$PWD" -path '*/@openai/codex/bin/codex.js' -print -quit)
    if [ -n "$own" ]; then
        ln -sf "$own" /usr/local/bin/codex
    elif [ -n "$1" ]; then
        case $(dpkg --print-architecture) in
        amd64) platform=linux-x64 sum=$2 ;;
        arm64) platform=linux-arm64 sum=$3 ;;
        *) fail "there is no Codex CLI for $(dpkg --print-architecture)" ;;
        esac
        work=$(mktemp -d)
        fetch "@openai/codex@$1-$platform" "$sum" "$work"
        tar -xzf "$work/package.tgz" -C "$work"
        mv "$work"/package/vendor/* /usr/local/lib/codex
        ln -sf /usr/local/lib/codex/bin/codex /usr/local/bin/codex
        rm -rf "$work"
    else
        return 0
    fi
    /usr/local/bin/codex --version
}

# npm's packages finish their installation at the first start, into their own directory, which is read-only then.
release() {
    pending=.openclaw-lifecycle-pending
    [ -e "$pending" ] || return 0
    HOME=$(mktemp -d) node openclaw.mjs config validate || true
    [ ! -e "$pending" ] || fail "the release has not finished its installation"
}

command=$1
shift
case $command in
plugins)
    while [ $# -gt 0 ]; do
        plugin "$1" "${2:?PLUGINS: write NAME@VERSION SHA256, for each}"
        shift 2
    done
    ;;
codex) codex "$@" ;;
release) release ;;
*) fail "unknown command $command" ;;
esac
