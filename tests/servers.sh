# shellcheck shell=bash
# For scripts that test the real binary against a server: source it at the root of the repository. It sets `binary` (built
# if needed), `venv` and `work`, a directory. When the script ends, servers that it started end and `work` is removed.
binary=${PROVISIONER_BINARY:-}
if [ -z "$binary" ]; then
    cargo build --quiet
    binary=${CARGO_TARGET_DIR:-target}/debug/openclaw-provisioner
fi
binary=$(realpath "$binary")
venv=$(tests/venv.sh)
work=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Waits until `$@` succeeds; if it never does, prints the server's output.
await() {
    for _ in $(seq 150); do
        if "$@"; then return 0; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.2
    done
    echo "the server did not come up:" >&2
    cat "$work/out" "$work/err" >&2
    return 1
}

# Prints port 4566, or a free port if something listens there already: that is not ours.
free_port() {
    "$venv/bin/python" - <<'PY'
import socket
for port in (4566, 0):
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(free.getsockname()[1])
        break
PY
}

# Ends the server before another one is started.
stop_server() {
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}

# Starts moto and sets `endpoint`.
start_moto() {
    local port
    port=$(free_port)
    "$venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$work/out" 2>"$work/err" </dev/null &
    server=$!
    endpoint=http://127.0.0.1:$port
    await curl --silent --fail --output /dev/null "$endpoint/moto-api/data.json"
}

# Starts ministack and sets `endpoint`. It runs no containers here: there is no Docker for it to talk to.
start_ministack() {
    local port python
    port=$(free_port)
    python=$(tests/venv.sh tests/smoke/ministack.txt)
    env HOME="$work" BIND_HOST=127.0.0.1 GATEWAY_PORT="$port" MINISTACK_ACCOUNT_ID=123456789012 \
        SERVICES=ecs,elasticfilesystem,ssm,ecr,ec2,sts,iam DOCKER_HOST="unix://$work/no-docker.sock" \
        "$python/bin/ministack" >"$work/out" 2>"$work/err" </dev/null &
    server=$!
    endpoint=http://127.0.0.1:$port
    await curl --silent --fail --output /dev/null "$endpoint/_localstack/health"
}

# Starts `dev "$@"` on free ports, and sets `api` and `endpoint`, its emulator's address.
start_dev() {
    "$binary" dev --listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0 --dir "$work/dev" "$@" >"$work/out" 2>"$work/err" </dev/null &
    server=$!
    await grep -q 'AWS emulator http:' "$work/out"
    # shellcheck disable=SC2034
    api=$(sed -n 's/.* API \(http:[^ ]*\) .*/\1/p' "$work/out")
    endpoint=$(sed -n 's/.*AWS emulator \(http:[^ ]*\).*/\1/p' "$work/out")
}
