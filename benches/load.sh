#!/usr/bin/env bash
# Sends new users to `serve` (a release build) as fast as it accepts them, again and again, and fails if it dies: 64 callers,
# no delay at AWS, rate limits at their maximum, until its file system holds 10,000 access points and then a little further.
# usage: benches/load.sh BINARY [RUNS=30] [SECONDS A RUN AT MOST=120]    needs wrk; listens on free ports of 127.0.0.1
set -euo pipefail
binary=$(realpath -e "${1:?usage: benches/load.sh BINARY [RUNS] [SECONDS]}")
command -v wrk > /dev/null || { echo "wrk is missing (Debian has it)" >&2; exit 1; }
runs=${2:-30} seconds=${3:-120}
work=$(mktemp -d)
dev='' serve=''
stop() {
    for process in $serve $dev; do kill "$process" 2>/dev/null || true; done
    wait 2>/dev/null || true
    dev='' serve=''
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Waits until the process has written the words into the file; if they do not come, prints what it wrote instead.
await() {
    for _ in $(seq 300); do
        if grep -q "$1" "$2"; then return 0; fi
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    cat "$2" >&2
    return 1
}

token=not-a-secret-only-a-bench
echo "bench:provision:$token" > "$work/tokens"
cat > "$work/users.lua" <<LUA
local threads = 0
function setup(thread) thread:set("id", threads); threads = threads + 1 end
function init(args) n = 0 end
function request()
  n = n + 1
  return wrk.format("POST", "/provision", {["Authorization"] = "Bearer $token", ["Content-Type"] = "application/json"},
    '{"user_id":"load-' .. id .. '-' .. n .. '","auth":{"auth_mode":"chatgpt","tokens":{"access_token":"eyJhbGciOiJub25lIn0.eyJleHAiOjQxMDI0NDQ4MDAsImlhdCI6MTc3MDAwMDAwMH0.c2ln","refresh_token":"rt_demo","account_id":"acc"}}}')
end
-- The quota is used up: after some thousand refusals more there is nothing left to see.
local full = 0
function response(status)
  if status == 503 then full = full + 1 end
  if full > 500 then wrk.thread:stop() end
end
LUA
limits=
for bucket in task-definition-write task-definition-read service-write service-read task-read service-deployment-read; do
    limits+=$bucket=1000/1000,
done

for run in $(seq "$runs"); do
    rm -rf "${work:?}/dev"
    "$binary" dev --listen 127.0.0.1:0 --emulator-listen 127.0.0.1:0 --dir "$work/dev" --log error > "$work/dev.log" 2>&1 &
    dev=$!
    await 'AWS emulator http:' "$work/dev.log" "$dev"
    endpoint=$(sed -n 's/.*AWS emulator \(http:[^ ]*\).*/\1/p' "$work/dev.log")
    env AWS_ENDPOINT_URL="$endpoint" AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x \
        PROVISIONER_SSM_PATH=/openclaw/dev PROVISIONER_EFS_ROOT="$work/dev/efs" PROVISIONER_OWNER=- \
        PROVISIONER_TOKENS_FILE="$work/tokens" PROVISIONER_LISTEN=127.0.0.1:0 PROVISIONER_RATE_LIMITS="${limits%,}" \
        PROVISIONER_LOG=openclaw_provisioner::cli=info,error "$binary" serve > "$work/serve.log" 2>&1 &
    serve=$!
    await listening "$work/serve.log" "$serve"
    address=$(sed -n 's/.*\(127\.0\.0\.1:[0-9]*\).*/\1/p' "$work/serve.log" | head -n 1)
    wrk -t2 -c64 -d"${seconds}s" --timeout 60s -s "$work/users.lua" "http://$address" > "$work/wrk.log" || true
    if ! kill -0 "$serve" 2>/dev/null; then
        code=0
        wait "$serve" || code=$?
        echo "run $run: serve DIED with $code" >&2
        tail -n 20 "$work/serve.log" >&2
        exit 1
    fi
    users=$(find "$work/dev/efs/users" -maxdepth 1 -mindepth 1 | wc -l)
    echo "run $run: alive; $users users; $(grep -E 'requests in|Non-2xx' "$work/wrk.log" | tr -s ' ' | tr '\n' ';')"
    stop
done
echo "$runs runs, none died"
