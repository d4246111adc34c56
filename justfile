# Shortcuts (https://just.systems); everything here is a command that works without it. `just` alone lists them.

_list:
    @just --list --unsorted

# Format, lints and unit tests: the fast check, under two minutes on a warm tree
check:
    cargo fmt --check
    cargo clippy --locked --workspace --all-targets -- -D warnings
    cargo test --locked --workspace --lib

# All tests, as CI runs them
test:
    cargo test --workspace

# Everything that a change has to pass
ci:
    bash .ci/run

# One test or a few, by a part of the name
one NAME:
    cargo test --workspace {{ NAME }}

# The API over the AWS emulator
dev *ARGS:
    cargo run -- dev {{ ARGS }}
