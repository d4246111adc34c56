"""Runs a release as Fargate would: the registered task definition's environment, user, command and mounts.

Namespaces instead of Docker: a container is `unshare` with a file system of its own (container_init.py), entered with
`nsenter`. Killing it, by its pid, ends every process in it. Needs root.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
# The image's own values; those of a task definition replace them.
IMAGE_ENTRY_POINT = ["docker-entrypoint.sh"]
IMAGE_COMMAND = ["node", "openclaw.mjs", "gateway", "--allow-unconfigured"]
IMAGE_WORKING_DIRECTORY = "/app"
IMAGE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/home/node",
    "NODE_ENV": "production",
}
# ECS sets this variable in every container of a task with a role. The path is the secret that the agent must not get.
ENDPOINT = "169.254.170.2"
CREDENTIALS = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
# Docker's defaults, which Fargate gives a container that starts as root, before what the definition drops.
CAPABILITIES = ["AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
                "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"]
# The only variable that the harness adds: Node does not read the system's certificates.
HARNESS_ENVIRONMENT = {"NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/ca-certificates.crt"}
PORT = 18789
NSENTER, CHROOT = shutil.which("nsenter") or "nsenter", shutil.which("chroot") or "chroot"
# The path in the container, the same as on the host.
PYTHON = "/usr/bin/python3"
START_SECONDS = 120


@dataclass
class Definition:
    """The members of a registered task definition that this harness uses."""

    environment: dict[str, str]
    secrets: dict[str, str]
    entry_point: list[str]
    command: list[str]
    user: str
    mount_path: str
    image: str
    read_only: bool
    capabilities: list[str]
    health_check: list[str]
    has_init: bool
    # Directories in memory: path and mount options.
    tmpfs: list[tuple[str, str]]

    @property
    def start(self) -> list[str]:
        return [*(self.entry_point or IMAGE_ENTRY_POINT), *self.command]

    @property
    def starts_as_root(self) -> bool:
        return self.user.split(":")[0] in ("0", "root")

    @property
    def is_isolated(self) -> bool:
        """Whether the container starts as root and first drops the path and its rights, with programs of the image."""
        return self.starts_as_root and self.entry_point[:3] == ["/usr/bin/env", "-u", CREDENTIALS] and (
            self.entry_point[3] == "/usr/bin/setpriv" and self.entry_point[-1] == "--")

    @property
    def agent(self) -> int:
        """The user that OpenClaw runs as."""
        [uid] = [word.removeprefix("--reuid=") for word in self.entry_point if word.startswith("--reuid=")] or [self.user.split(":")[0]]
        return int(uid)

    @property
    def has_entry_script(self) -> bool:
        return any(word.endswith("/.provisioner/entry.sh") for word in self.start)

    @classmethod
    def of(cls, registered: dict) -> "Definition":
        container = registered["containerDefinitions"][0]
        volumes = {volume["name"] for volume in registered["volumes"] if "efsVolumeConfiguration" in volume}
        [mount] = [point for point in container["mountPoints"] if point["sourceVolume"] in volumes]
        entry_point, command = container.get("entryPoint") or [], container.get("command") or []
        linux = container.get("linuxParameters") or {}
        capabilities = linux.get("capabilities") or {}
        # Fargate refuses any other (API reference, KernelCapabilities).
        assert set(capabilities.get("add") or []) <= {"SYS_PTRACE"}, capabilities
        dropped = set(capabilities.get("drop") or [])
        check = (container.get("healthCheck") or {}).get("command") or []
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
                for one in linux.get("tmpfs") or []
            ],
            capabilities=[] if "ALL" in dropped else [name for name in CAPABILITIES if name not in dropped],
            health_check={"CMD": check[1:], "CMD-SHELL": ["/bin/sh", "-c", *check[1:]]}.get(check[0] if check else "", []),
            has_init=bool(linux.get("initProcessEnabled")),
        )


@dataclass
class World:
    """What all containers of one release share: the release, the stand-in's certificate and journal, and our patience."""

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
        """Makes all tokens of this sign-in invalid, from the next container's start on."""
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
        self.role = {CREDENTIALS: f"/v2/credentials/{uuid.uuid4()}",
                     "ECS_CONTAINER_METADATA_URI_V4": f"http://{ENDPOINT}/v4/{uuid.uuid4().hex}", "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}

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
            # The variables that process 1 of a container has.
            env=os.environ | self.role, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
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
        # Docker takes the home of the user that the container starts as from /etc/passwd.
        home = {"HOME": "/root"} if self.definition.starts_as_root else {}
        return IMAGE_ENVIRONMENT | home | self.definition.environment | secrets | HARNESS_ENVIRONMENT | self.role

    def start(self, command: list[str], user: str | None = None, **options: object) -> subprocess.Popen:
        """Starts a command as the runtime would: as the definition's user or this one, with its capabilities and variables.

        The variables are not passed as arguments, which everybody in the container could read.
        """
        user = user or self.definition.user
        as_user, limited = [f"--userspec={user}", "--groups="], []
        if user.split(":")[0] in ("0", "root"):
            kept = ",".join(["-all", *[f"+{name.lower()}" for name in self.definition.capabilities]])
            as_user, limited = ["--groups="], ["/usr/bin/setpriv", f"--bounding-set={kept}", "--inh-caps=-all", "--"]
        entering = [NSENTER, "--target", str(self.init), "--mount", "--net", "--pid", "--", CHROOT, *as_user, self.root, *limited,
                    "/usr/bin/env", "-C", IMAGE_WORKING_DIRECTORY]
        return subprocess.Popen([*entering, *command], env=self.environment(), stdin=subprocess.DEVNULL, **options)

    def run(self, command: list[str], timeout: float = 240, user: str | None = None) -> Ran:
        """Runs a command beside the gateway: as the agent, behind the drop; or as this user, without it."""
        started = time.monotonic()
        before = self.definition.entry_point if self.definition.starts_as_root and user is None else []
        process = self.start([*before, *command], user, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
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
        """Starts what the container runs: the definition's entry point, if any, and its command."""
        with self.log.open("a") as log:
            log.write(f"\n$ {' '.join(self.definition.start)}   (the container's start)\n")
            log.flush()
            init = [PYTHON, "-c", (HERE / "init.py").read_text()] if self.definition.has_init else []
            self.gateway = self.start([*init, *self.definition.start], stdout=log, stderr=subprocess.STDOUT)

    def await_gateway(self, seconds: float) -> dict:
        """Waits until it listens: `{"seconds", "healthz", "readyz"}`; or returns `{"died": code}` or `{"silent": seconds}`."""
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
        """Sends SIGTERM, as Fargate does. Returns the seconds until the end, or None if it has to be killed or had ended."""
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
