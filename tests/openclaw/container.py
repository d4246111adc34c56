"""Runs a release as Fargate would: the registered task definition's environment, user, command and mounts.

Namespaces instead of Docker: a container is `unshare` with a file system of its own (container_init.py), entered with
`nsenter`. Killing it, by its pid, ends every process in it. Needs root.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
# What the image itself says; a task definition that names its own wins.
IMAGE_ENTRY_POINT = ["docker-entrypoint.sh"]
IMAGE_COMMAND = ["node", "openclaw.mjs", "gateway", "--allow-unconfigured"]
IMAGE_WORKING_DIRECTORY = "/app"
IMAGE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/home/node",
    "NODE_ENV": "production",
}
# The only variable that is the harness's own: Node does not read the system's certificates.
HARNESS_ENVIRONMENT = {"NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/ca-certificates.crt"}
PORT = 18789
START_SECONDS = 120


@dataclass
class Definition:
    """What matters here of a registered task definition."""

    environment: dict[str, str]
    secrets: dict[str, str]
    entry_point: list[str]
    command: list[str]
    user: str
    mount_path: str
    image: str
    read_only: bool
    # Directories in memory: path and mount options.
    tmpfs: list[tuple[str, str]]

    @property
    def start(self) -> list[str]:
        return [*(self.entry_point or IMAGE_ENTRY_POINT), *self.command]

    @property
    def has_entry_script(self) -> bool:
        return any(word.endswith("/.provisioner/entry.sh") for word in self.start)

    @classmethod
    def of(cls, registered: dict) -> "Definition":
        container = registered["containerDefinitions"][0]
        volumes = {volume["name"] for volume in registered["volumes"] if "efsVolumeConfiguration" in volume}
        [mount] = [point for point in container["mountPoints"] if point["sourceVolume"] in volumes]
        entry_point, command = container.get("entryPoint") or [], container.get("command") or []
        return cls(
            environment={pair["name"]: pair["value"] for pair in container["environment"]},
            secrets={pair["name"]: pair["valueFrom"] for pair in container.get("secrets", [])},
            entry_point=entry_point,
            # An entryPoint replaces the image's CMD along with its ENTRYPOINT.
            command=command if command or entry_point else IMAGE_COMMAND,
            user=container.get("user", "1000:1000"),
            mount_path=mount["containerPath"],
            image=container["image"],
            read_only=bool(container.get("readonlyRootFilesystem")),
            tmpfs=[
                (one["containerPath"], ",".join([f"size={one['size']}m", *one.get("mountOptions", [])]))
                for one in (container.get("linuxParameters") or {}).get("tmpfs") or []
            ],
        )


@dataclass
class World:
    """What all containers of one release share: the release, the stand-in's certificate and its memory, and our patience."""

    node: Path
    modules: Path
    authority: Path
    certificate: Path
    key: Path
    journal: Path
    # Seconds that a gateway may take until it listens, and a turn until it is answered.
    patience: int = 300
    secrets: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[dict]:
        if not self.journal.exists():
            return []
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def revoke(self, name: str) -> None:
        """From the next container's start on, no token that came of this sign-in counts."""
        with self.journal.open("a") as journal:
            journal.write(json.dumps({"kind": "revoke", "name": name}) + "\n")


@dataclass
class Ran:
    code: int
    out: str
    err: str
    seconds: float

    def last_words(self, limit: int = 300) -> str:
        lines = [line.strip() for line in (self.err + "\n" + self.out).splitlines() if line.strip()]
        return " / ".join(lines[-4:])[-limit:]


class Container:
    """One start; leaving the `with` block kills it."""

    def __init__(self, world: World, definition: Definition, directory: Path, log: Path, port: int = PORT):
        self.world, self.definition, self.directory, self.log, self.port = world, definition, directory, log, port
        self.gateway: subprocess.Popen | None = None

    def __enter__(self) -> "Container":
        self.scratch = tempfile.TemporaryDirectory(prefix="openclaw-root-")
        self.root = self.scratch.name
        spec = {
            "root": self.root, "node": str(self.world.node), "modules": str(self.world.modules),
            "authority": str(self.world.authority), "certificate": str(self.world.certificate),
            "key": str(self.world.key), "journal": str(self.world.journal),
            "mounts": [[str(self.directory), self.definition.mount_path]],
            "tmpfs": self.definition.tmpfs, "read_only": self.definition.read_only,
        }
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private",
             sys.executable, str(HERE / "container_init.py"), json.dumps(spec)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        said = self.process.stdout.readline().strip() if ready else ""
        if said != "up":
            self.__exit__()
            raise RuntimeError(f"the container did not come up: {said or 'no word in 30 s'}")
        [self.init] = children(self.process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.gateway:
            self.gateway.wait()
        self.scratch.cleanup()

    def environment(self) -> dict[str, str]:
        secrets = {name: self.world.secrets.setdefault(arn, os.urandom(24).hex())
                   for name, arn in self.definition.secrets.items()}
        return IMAGE_ENVIRONMENT | self.definition.environment | secrets | HARNESS_ENVIRONMENT

    def entering(self, command: list[str]) -> list[str]:
        return ["nsenter", "--target", str(self.init), "--mount", "--net", "--pid", "--",
                "chroot", f"--userspec={self.definition.user}", "--groups=", self.root,
                "/usr/bin/env", "-i", "-C", IMAGE_WORKING_DIRECTORY,
                *[f"{name}={value}" for name, value in self.environment().items()], *command]

    def run(self, command: list[str], timeout: float = 240) -> Ran:
        """A command beside the gateway, as ECS Exec would run it."""
        started = time.monotonic()
        process = subprocess.Popen(self.entering(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, errors="replace")
        try:
            out, err = process.communicate(timeout=timeout)
            code = process.returncode
        except subprocess.TimeoutExpired:
            for child in children(process.pid):
                os.kill(child, signal.SIGKILL)
            out, err = process.communicate()
            code, err = 124, err + f"\nno end after {timeout:.0f} s"
        ran = Ran(code, out, err, time.monotonic() - started)
        with self.log.open("a") as log:
            log.write(f"\n$ {' '.join(command)}   ({ran.code}, {ran.seconds:.1f} s)\n{out}\n{err}\n")
        return ran

    def openclaw(self, *arguments: str, timeout: float = 240) -> Ran:
        return self.run(["node", "/app/openclaw.mjs", *arguments], timeout)

    def start_gateway(self) -> None:
        """What the container runs: the definition's entry point, if any, and its command."""
        with self.log.open("a") as log:
            log.write(f"\n$ {' '.join(self.definition.start)}   (the container's start)\n")
            log.flush()
            self.gateway = subprocess.Popen(self.entering(self.definition.start), stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT)

    def await_gateway(self, seconds: float) -> dict:
        """Until it listens: `{"seconds", "healthz", "readyz"}`; or `{"died": code}` or `{"silent": seconds}`."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            if self.gateway.poll() is not None:
                return {"died": self.gateway.returncode}
            probe = subprocess.run(["nsenter", "--target", str(self.init), "--net", "--", sys.executable,
                                    str(HERE / "probe.py"), str(self.port), "5"], capture_output=True, text=True)
            if probe.returncode == 0:
                return {"seconds": round(time.monotonic() - started, 1)} | json.loads(probe.stdout)
        return {"silent": seconds}

    def memory_mib(self) -> int:
        """Resident memory of everything that runs in the container, less the stand-in."""
        kib, ours = 0, self.namespace(self.init)
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self.namespace(int(entry.name)) == ours:
                try:
                    status = dict(line.split(":", 1) for line in (entry / "status").read_text().splitlines())
                except OSError:
                    continue
                if status["Uid"].split()[0] != "0":
                    kib += int(status.get("VmRSS", "0 kB").split()[0])
        return kib // 1024

    @staticmethod
    def namespace(pid: int) -> str:
        try:
            return os.readlink(f"/proc/{pid}/ns/pid")
        except OSError:
            return ""

    def stop_gateway(self, seconds: float = 60) -> float | None:
        """SIGTERM, as Fargate sends it; the seconds until the end, or nothing when it has to be killed or has ended."""
        if self.gateway is None or self.gateway.poll() is not None:
            return None
        started = time.monotonic()
        for child in children(self.gateway.pid):
            os.kill(child, signal.SIGTERM)
        try:
            self.gateway.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return round(time.monotonic() - started, 1)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
