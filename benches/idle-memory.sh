#!/usr/bin/env bash
# Prints the resident memory of an idle `serve` (release build), and the size of the binary.
# usage: benches/idle-memory.sh [BINARY]    without BINARY it builds one, as the image does: without the emulator
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${1:-}
if [ -z "$binary" ]; then
  cargo build --release --no-default-features
  binary=target/release/openclaw-provisioner
fi
directory=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$directory"' EXIT
echo "bench:read:not-a-secret-only-a-bench" > "$directory/tokens"
mkdir "$directory/efs"
env PROVISIONER_LISTEN=127.0.0.1:0 PROVISIONER_TOKENS_FILE="$directory/tokens" PROVISIONER_EFS_ROOT="$directory/efs" \
  PROVISIONER_OWNER=- PROVISIONER_CLUSTER=c PROVISIONER_BASE_FAMILY=f PROVISIONER_FILE_SYSTEM_ID=fs-1 \
  PROVISIONER_SUBNETS=subnet-1 PROVISIONER_SECURITY_GROUPS=sg-1 AWS_REGION=us-east-1 \
  "$binary" serve --initialize 2> "$directory/log" &
server=$!
until grep -q listening "$directory/log"; do
  kill -0 "$server" || { cat "$directory/log"; exit 1; }
done
port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$directory/log" | head -n 1)
for _ in $(seq 100); do curl -fsS "http://127.0.0.1:$port/readyz" > /dev/null; done
awk '/^VmRSS/ {printf "resident memory of an idle serve after 100 requests: %.1f MiB\n", $2 / 1024}' "/proc/$server/status"
printf 'binary: %.1f MiB\n' "$(($(stat -c %s "$binary") / 10485))e-2"
