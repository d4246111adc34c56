#!/usr/bin/env bash
# Checks of the images that need no engine and take seconds: hadolint; the scripts of the OpenClaw image, over fakes;
# and the service's build stage: its COPY lines and the command that makes its empty program, then a type check with only
# those files. So a file that the build reads and .dockerignore keeps out fails here, not in the image's build.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$PWD/target}

"$(tests/venv.sh)/bin/hadolint" --failure-threshold style Dockerfile infra/openclaw/Dockerfile
echo "hadolint has nothing to say"

if command -v node >/dev/null; then
    node --test tests/docker/*.test.mjs
else
    echo "!!!!!!!! SKIPPED: no node here, so the scripts of the OpenClaw image were not tested" >&2
fi

context=$target/docker-context
rm -rf "$context"
mkdir -p "$context"

# Does what COPY does with one source: copies the content of a directory, or a file.
copy() {
    grep -qxF -e "!$1" -e "!${1%%/*}" .dockerignore || { echo "Dockerfile copies $1, which .dockerignore keeps out" >&2; return 1; }
    if [ -d "$1" ]; then
        mkdir -p "$context/$2" && cp -r "$1/." "$context/$2"
    else
        mkdir -p "$(dirname "$context/$2x")" && cp "$1" "$context/$2"
    fi
}

while read -r instruction words; do
    case $instruction in
    COPY)
        read -ra paths <<<"$words"
        for source in "${paths[@]::${#paths[@]}-1}"; do copy "$source" "${paths[-1]}"; done
        ;;
    RUN) (cd "$context" && sh -euc "$words") ;;
    esac
done < <(grep -E '^(COPY [^-]|RUN mkdir )' Dockerfile)
find "$context/src" "$context/crates" -name '*.rs' -exec touch {} +
# The check shares the built dependencies. Cargo names build results by the path within the workspace, so it would take the crate that
# both workspaces have for already built, although the sources differ: a different setting keeps the two apart.
cargo check --frozen --no-default-features --manifest-path "$context/Cargo.toml" --target-dir "$target" \
    --config 'profile.dev.package.openclaw.codegen-units=15'
