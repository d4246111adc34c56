# The service: one binary on a base without shell and package manager. docs/images.md says how to build, run and check it.
#
# Base images are pinned by tag and digest. A digest names content, so a wrong one can fail a build and bring nothing else
# in; to move one, ask the registry: `docker buildx imagetools inspect docker.io/library/rust:1.95.0-slim-trixie`.
# Both are Debian 13, so that the binary finds the C library that it was linked with.
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-trixie@sha256:e14e87345b4d5964ddcc3491d27ee046a0f23820f340c3c1e24da6880141f7c0
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian13:latest@sha256:4594d59540d1948417f6ca2829ddd9294493a7c68b7528f4dd459de7f203a750

FROM ${RUST_IMAGE} AS build
# Writes the list of crates into the binary, where scanners (trivy, grype, syft and so BuildKit's SBOM) read it.
ARG CARGO_AUDITABLE=0.7.7
RUN cargo install cargo-auditable --locked --version "${CARGO_AUDITABLE}"

WORKDIR /src
# Paths of this stage stay out of the binary, so that it depends on sources, toolchain and base image alone.
ENV RUSTFLAGS="--remap-path-prefix=/src=. --remap-path-prefix=/usr/local/cargo/registry/src=crates"
# `emulator` adds `dev` and `dev seed`, for trying things out: not for production.
ARG FEATURES=

# Dependencies take minutes and change seldom: a layer of their own, built for empty crates. With so few that does
# what cargo-chef does, with nothing to install; and a layer can be kept in a registry, which a cache mount cannot.
COPY Cargo.toml Cargo.lock ./
COPY crates/aws-emulator/Cargo.toml crates/aws-emulator/
COPY crates/openclaw/Cargo.toml crates/openclaw/
RUN mkdir -p src crates/aws-emulator/src crates/openclaw/src tests/it tests/efs tests/chaos benches && touch src/lib.rs crates/aws-emulator/src/lib.rs crates/openclaw/src/lib.rs tests/it/main.rs tests/efs/main.rs tests/chaos/main.rs benches/provision.rs benches/list.rs benches/efs.rs && echo 'fn main() {}' >src/main.rs
RUN cargo auditable build --locked --release --no-default-features --features "${FEATURES}"

COPY docs/compatibility.json docs/
COPY openclaw-version.json ./
COPY crates crates
COPY src src
# Cargo goes by times of change, and the empty program is newer than these files. Nothing is downloaded any more.
RUN find crates src -name '*.rs' -exec touch {} + \
    && cargo auditable build --frozen --release --no-default-features --features "${FEATURES}"

FROM ${RUNTIME_IMAGE}
COPY --from=build /src/target/release/openclaw-provisioner /usr/local/bin/openclaw-provisioner

# The default of `serve` is loopback, which nobody outside of the container reaches.
ENV PROVISIONER_LISTEN=0.0.0.0:8080
EXPOSE 8080
# Lets work under way come to a stop; takes up to 25 s, so give it a stop timeout of 30 s.
STOPSIGNAL SIGTERM

# Root, because the service gives users' files on EFS to uid 1000. A Linux capability on another uid (CAP_CHOWN) does not
# replace that: it convinces this machine's kernel, and then the NFS server decides, which only sees a uid and lets uid 0
# alone give files away (and that with elasticfilesystem:ClientRootAccess). Drop the capabilities instead: root needs
# none but CHOWN, DAC_OVERRIDE and FOWNER. With PROVISIONER_OWNER=- nothing is given away; then use `--user 1000:1000`.
# hadolint ignore=DL3002
USER 0:0

# What ECS ignores and the task definition has to repeat. By the binary, because nothing else is here; it asks /healthz,
# since a restart mends a process that hangs and not a file system.
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s --retries=3 \
    CMD ["/usr/local/bin/openclaw-provisioner", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/openclaw-provisioner"]
CMD ["serve"]

# Last, because they differ in every build.
ARG VERSION=0.0.0-unreleased
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="openclaw-provisioner" \
    org.opencontainers.image.description="Gives every user of a web app a private OpenClaw container on AWS ECS Fargate" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"
