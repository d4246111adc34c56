#!/bin/sh
# Starts the gateway as the first container of a user does, with an empty directory and the baked plugins turned on. Fails
# unless it answers, has installed nothing there, and can load the plugins: a configured plugin that is missing would be downloaded
# at the start. Runs without a network, as the image's user, in OpenClaw's directory.
set -eu
seconds=${1:-300}
port=${OPENCLAW_GATEWAY_PORT:-18789}

# The program that drops root's rights before anything of a user runs; BusyBox has another program with this name.
/usr/bin/setpriv --version 2>/dev/null | grep -q util-linux || {
    echo "no /usr/bin/setpriv of util-linux in this image, with which isolated containers start" >&2
    exit 1
}
[ -f openclaw.mjs ] || { echo "no OpenClaw in $PWD, where the entry script looks for it" >&2; exit 1; }

HOME=$(mktemp -d)
export HOME
mkdir "$HOME/.openclaw"
plugins=$(cat baked-plugins 2>/dev/null || true)
# shellcheck disable=SC2086  # Each plugin is an argument.
node -e '
    const [port, ...plugins] = process.argv.slice(1);
    const auth = { mode: "token", token: "of-the-build-alone" };
    const entries = Object.fromEntries(plugins.map((id) => [id, { enabled: true }]));
    console.log(JSON.stringify({ gateway: { mode: "local", port: Number(port), bind: "loopback", auth }, plugins: { entries } }));
' "$port" $plugins >"$HOME/.openclaw/openclaw.json"
node openclaw.mjs gateway --allow-unconfigured >"$HOME/log" 2>&1 &
gateway=$!

fail() {
    echo "$*; it said:" >&2
    tail -n 30 "$HOME/log" >&2
    kill "$gateway" 2>/dev/null || true
    exit 1
}

# Each check takes a second at most, and there is one a second.
# shellcheck disable=SC2016  # It is Node that fills in the port.
until node -e 'fetch(`http://127.0.0.1:${process.argv[1]}/healthz`, {signal: AbortSignal.timeout(1000)}).then(r => process.exit(r.ok ? 0 : 1), () => process.exit(1))' "$port"; do
    kill -0 "$gateway" 2>/dev/null || fail "the gateway ended"
    seconds=$((seconds - 1))
    [ "$seconds" -gt 0 ] || fail "the gateway has not answered in time"
    sleep 1
done
installed=$(find "$HOME/.openclaw" \( -name node_modules -o -name plugin-runtime-deps -o -path "$HOME/.openclaw/npm/*" \) -prune -print)
[ -z "$installed" ] || fail "it installed $installed"
for id in $plugins; do
    node openclaw.mjs plugins inspect "$id" --runtime --json >"$HOME/plugin" 2>>"$HOME/log" || fail "the plugin $id is not there"
    node -e 'process.exit(JSON.parse(fs.readFileSync(0)).plugin.status === "loaded" ? 0 : 1)' <"$HOME/plugin" ||
        fail "the plugin $id does not load: $(cat "$HOME/plugin")"
done
kill "$gateway"
{ wait "$gateway"; } 2>/dev/null || true
rm -rf "$HOME"
echo "the gateway answers, and has installed nothing"
