"""Node and OpenClaw releases from npm, each installed once into a cache directory."""

import fcntl
import json
import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

NODE = "node@24.21.0"
# linkedom is held back: a newer one depends on a package that the registry does not have. libsignal, of a channel that is not
# run here, is otherwise fetched from GitHub by releases before 2026.4.20.
OVERRIDES = {"linkedom": "0.18.12", "libsignal": "2.0.1"}


class Unreachable(Exception):
    """npm could not deliver a package that is not in the cache."""


class Cache:
    def __init__(self, path: Path):
        self.path = path.resolve()
        self.path.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the cache: two runs share it and must not install into it at once."""
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def node(self) -> Path:
        place = self.path / "node"
        # The package's own install step links the binary, so it may run scripts; other packages may not.
        self.install(place, NODE, {"private": True}, [])
        return (place / "node_modules/.bin/node").resolve()

    def release(self, version: str) -> tuple[Path, dict]:
        """A release's node_modules, and `{"mib", "install_seconds"}`: of this run's download, or None."""
        place = self.path / f"openclaw-{version}"
        seconds = self.install(place, f"openclaw@{version}", {"private": True, "overrides": OVERRIDES},
                               ["--ignore-scripts"])
        self.finish(place / "node_modules/openclaw")
        return place / "node_modules", {"mib": mib(place), "install_seconds": seconds}

    def finish(self, package: Path) -> None:
        """From 2026.8 on a release finishes its installation at its first start, which happens in the image's build."""
        if not (package / ".openclaw-lifecycle-pending").exists():
            return
        with self.locked(), tempfile.TemporaryDirectory() as home:
            path = f"{self.path}/node/node_modules/.bin:{os.environ['PATH']}"
            # It fails because there is no configuration; by then it has finished the installation.
            subprocess.run(["node", "openclaw.mjs", "config", "validate"], cwd=package, stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=300, env={"PATH": path, "HOME": home})

    def install(self, place: Path, package: str, manifest: dict, flags: list[str]) -> float | None:
        done = place / ".complete"
        if done.exists():
            # Without the lock, which another run may hold for as long as npm takes.
            return None
        with self.locked():
            if done.exists():
                return None
            place.mkdir(exist_ok=True)
            (place / "package.json").write_text(json.dumps(manifest))
            started = time.monotonic()
            with (place / "npm.log").open("w") as log:
                path = f"{self.path}/node/node_modules/.bin:{os.environ['PATH']}"
                try:
                    npm = subprocess.run(["npm", "install", package, *flags, "--no-audit", "--no-fund"], cwd=place,
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=1800,
                                         env=os.environ | {"PATH": path})
                    failed = npm.returncode != 0
                except (FileNotFoundError, subprocess.TimeoutExpired):
                    failed = True
            if failed:
                raise Unreachable(f"npm install {package} failed, see {place}/npm.log")
            done.touch()
            return round(time.monotonic() - started, 1)


def mib(place: Path) -> int:
    blocks = 0
    for folder, _, files in os.walk(place):
        blocks += sum(os.lstat(os.path.join(folder, file)).st_blocks for file in files)
    return blocks * 512 >> 20


def certificates(place: Path) -> tuple[Path, Path, Path]:
    """A throw-away authority, and a certificate and key for the stand-in's names."""
    place.mkdir(parents=True)
    names = "subjectAltName=DNS:chatgpt.com,DNS:*.chatgpt.com,DNS:auth.openai.com,DNS:api.openai.com"
    (place / "extensions").write_text(f"{names}\nextendedKeyUsage=serverAuth\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=throw-away -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=chatgpt.com -keyout leaf.key -out leaf.csr",
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out leaf.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=place, check=True, capture_output=True)
    return place / "ca.pem", place / "leaf.pem", place / "leaf.key"
