"""Process 1 of a container (see container.py): builds its file system, starts the stand-in, then waits to be killed.

Runs as root in mount, network and process namespaces of its own. Reads one JSON object from its arguments and prints
`up` when commands can be run. It has only what a real container of the image has: the system and Node read-only, the
release at /app, an empty home, the user's directory where the task definition mounts it, and no network but loopback.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

# The stand-in's address, on this namespace's own loopback. It must look public: OpenClaw refuses to send requests to
# private and reserved addresses. Nothing can leave the namespace, so nothing reaches the address's real owner.
ADDRESS = "104.18.32.115"
# The address of ECS's task endpoints; see task_metadata.py.
TASK_ENDPOINT = "169.254.170.2"
HOSTS = ["chatgpt.com", "auth.openai.com", "api.openai.com"]
UID = GID = 1000


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def bind(source: Path | str, target: Path, *, writable: bool = False) -> None:
    if Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    run("mount", "--rbind" if str(source) == "/usr" else "--bind", str(source), str(target))
    if not writable:
        run("mount", "-o", "remount,bind,ro", str(target))


def release(modules: Path, app: Path) -> None:
    """Mounts the release with its packages below it, as in the image; npm's local layout has them beside it.

    Some releases look for plugins' packages only in the release's own node_modules, and install them if they are not there.
    """
    own = modules / "openclaw" / "node_modules"
    own.mkdir(exist_ok=True)
    bind(modules / "openclaw", app)
    # If the release has packages of its own, which take precedence, Node finds the common ones one directory further up.
    bind(modules, app.parent / "node_modules" if any(own.iterdir()) else app / "node_modules")


def tmpfs(target: Path, options: str = "mode=755") -> None:
    target.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target))


def build(spec: dict) -> None:
    root = Path(spec["root"])
    tmpfs(root)
    bind("/usr", root / "usr")
    for name in ("bin", "sbin", "lib", "lib64"):
        host = Path("/", name)
        if host.is_symlink():
            (root / name).symlink_to(os.readlink(host))
        elif host.exists():
            bind(host, root / name)
    # The host's own tools in /usr/local are not the image's; its Node is.
    local = root / "usr/local/bin"
    tmpfs(root / "usr/local")
    bind(spec["node"], local / "node")
    release(Path(spec["modules"]), root / "app")
    (local / "openclaw").symlink_to("/app/openclaw.mjs")
    # Node's image has such a script: it runs its arguments.
    (local / "docker-entrypoint.sh").write_text('#!/bin/sh\necho "the image\'s entry point: $*" >&2\nexec "$@"\n')
    (local / "docker-entrypoint.sh").chmod(0o755)
    for name in ("npm", "npx", "pnpm"):
        (local / name).write_text((Path(__file__).parent / "npm.sh").read_text())
        (local / name).chmod(0o755)

    tmpfs(root / "etc")
    etc = root / "etc"
    (etc / "passwd").write_text(f"root:x:0:0:root:/root:/bin/sh\nnode:x:{UID}:{GID}::/home/node:/bin/sh\n")
    (etc / "group").write_text(f"root:x:0:\nnode:x:{GID}:\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{ADDRESS} {host}\n" for host in HOSTS))
    (etc / "nsswitch.conf").write_text("hosts: files\n")
    (etc / "resolv.conf").write_text("")
    for name in ("ld.so.cache", "alternatives"):
        if Path("/etc", name).exists():
            bind(Path("/etc", name), etc / name)
    # The path of Debian's images, which the Codex client reads. Node uses NODE_EXTRA_CA_CERTS.
    (etc / "ssl/certs").mkdir(parents=True)
    (etc / "ssl/certs/ca-certificates.crt").write_text(Path(spec["authority"]).read_text())

    tmpfs(root / "dev")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        bind(Path("/dev", name), root / "dev" / name, writable=True)
    tmpfs(root / "dev/shm", "mode=1777")
    (root / "dev/fd").symlink_to("/proc/self/fd")
    (root / "proc").mkdir()
    run("mount", "-t", "proc", "proc", str(root / "proc"))

    # Everything outside the mounted directory is lost with the container, as on Fargate.
    home = root / "home/node"
    home.mkdir(parents=True)
    os.chown(home, UID, GID)
    for host, inside in spec["mounts"]:
        target = root / inside.lstrip("/")
        bind(host, target, writable=True)
    for inside, options in spec["tmpfs"]:
        # Docker's defaults first, then the definition's own options.
        tmpfs(root / inside.lstrip("/"), f"noexec,nosuid,nodev,{options}")
    if not spec["tmpfs"]:
        # The image's own /tmp.
        tmpfs(root / "tmp", "mode=1777")
    if spec["read_only"]:
        for mounted in (root, root / "usr/local", root / "etc"):
            run("mount", "-o", "remount,ro", str(mounted))


def await_listener(address: tuple[str, int]) -> None:
    for _ in range(100):
        try:
            socket.create_connection(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing listens at {address[0]}")


def main() -> None:
    spec = json.loads(sys.argv[1])
    build(spec)
    run("ip", "link", "set", "lo", "up")
    run("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo")
    here = Path(__file__).parent
    subprocess.Popen([sys.executable, str(here / "standin.py"), "--address", ADDRESS, "--certificate",
                      spec["certificate"], "--key", spec["key"], "--journal", spec["journal"]])
    run("ip", "addr", "add", f"{TASK_ENDPOINT}/32", "dev", "lo")
    subprocess.Popen([sys.executable, str(here / "task_metadata.py"), TASK_ENDPOINT])
    for address in ((ADDRESS, 443), (TASK_ENDPOINT, 80)):
        await_listener(address)
    print("up", flush=True)
    # Process 1 inherits orphans and has to collect them.
    while True:
        try:
            os.wait()
        except ChildProcessError:
            time.sleep(1)


if __name__ == "__main__":
    main()
