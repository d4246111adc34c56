#!/usr/bin/env bash
# What can be checked of the images without an engine and in seconds: hadolint; the scripts of the OpenClaw image, over fakes;
# and the service's build stage: its COPY lines and the command that makes its empty program, then a type check in nothing
# but that. So a file that the build reads and .dockerignore keeps out fails here, and not in the image's build.
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

# What COPY does with one source: the content of a directory, or a file.
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
# It shares what is built of dependencies. Cargo names what it builds by the path within the workspace, so the crate that both workspaces
# have would be taken for built here, although the sources are others: a setting that is different keeps them apart.
cargo check --frozen --no-default-features --manifest-path "$context/Cargo.toml" --target-dir "$target" \
    --config 'profile.dev.package.openclaw.codegen-units=15'
