"""Runs compose.yaml without Docker: starts the services of the profile `moto` in the order of their dependencies, each
with its own entry point, command, environment, volumes and configs, then provisions a user through them.

The binary and this Python environment, which has moto, replace the images; free ports on loopback replace the services'
network. So it proves that commands, environment, files and order fit together. It does not prove that the images exist or
have those programs; of the profile `localstack` it checks only the form.
"""

import argparse
import base64
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROFILE = "moto"
ANOTHER = "localstack"
STARTS_WITHIN_SECONDS = 60


class Broken(Exception):
    """A check of compose.yaml that failed."""


def expect(holds, otherwise):
    if not holds:
        raise Broken(otherwise)


def interpolated(text):
    """`${NAME:-default}` as Compose fills it in when nothing is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def form(compose):
    """Checks what holds for every service, whether it runs here or not."""
    locked = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "tests/smoke/requirements.txt").read_text(), re.MULTILINE))
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            expect(port.startswith("127.0.0.1:"), f"{name}: port {port} is open to the network")
        image = service["image"].rpartition("/")[2]
        expect(re.fullmatch(r"[\w-]+:(local|[\d.]+)", image), f"{name}: {image} is not pinned")
        if image.startswith("moto:"):
            expect(image == f"moto:{locked['moto']}", f"{name}: {image}, and moto {locked['moto']} is what is tested")
        for other in service.get("depends_on", {}):
            expect(other in compose["services"], f"{name}: depends on {other}, which is not there")
    # A service that needs an emulator is in both profiles.
    users = {name for name, service in compose["services"].items() if set(service["profiles"]) == {PROFILE, ANOTHER}}
    expect(users == {"seed", "network", "provisioner"}, f"the services of both profiles are {users}")


def in_order(services):
    """Names, each after what it depends on."""
    done = []

    def visit(name):
        for other in services[name].get("depends_on", {}):
            if other in services:
                visit(other)
        if name not in done:
            done.append(name)
    for name in services:
        visit(name)
    return done


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Machine:
    """The machine on which the services run; maps names in compose.yaml to local ones."""

    def __init__(self, compose, binary, work):
        self.services = {name: one for name, one in compose["services"].items() if PROFILE in one["profiles"]}
        self.work, self.running = work, {}
        self.emulator, self.api = free_port(), free_port()
        # In this order: the longer names first.
        self.names = {"http://aws:4566": f"http://127.0.0.1:{self.emulator}", "127.0.0.1:4566": f"127.0.0.1:{self.emulator}",
                      "0.0.0.0:8080": f"127.0.0.1:{self.api}", "0.0.0.0": "127.0.0.1", "4566": str(self.emulator)}
        self.programs = {"moto_server": str(pathlib.Path(sys.executable).parent / "moto_server"), "python": sys.executable}
        self.binary = str(binary)
        for service in self.services.values():
            for volume in service.get("volumes", []):
                source, target = volume.split(":")[:2]
                self.names[target] = str(ROOT / source if source.startswith("./") else self.directory(source))
            for config in service.get("configs", []):
                self.names[config["target"]] = str(self.config(config["source"], compose["configs"]))

    def directory(self, name):
        (self.work / name).mkdir(exist_ok=True)
        return self.work / name

    def config(self, name, configs):
        path = self.work / f"config-{name}"
        path.write_text(interpolated(configs[name]["content"]))
        return path

    def here(self, value):
        for name, local in self.names.items():
            value = value.replace(name, local)
        return value

    def command(self, service):
        """Entry point and command. The entry point of our own image is the binary."""
        words = [self.here(word) for word in [*service.get("entrypoint", [self.binary]), *service.get("command", [])]]
        return [self.programs.get(words[0], words[0]), *words[1:]]

    def environment(self, service):
        ours = {name: self.here(interpolated(str(value))) for name, value in service.get("environment", {}).items()}
        # Only root may change the owner of files.
        root = {} if os.geteuid() == 0 else {"PROVISIONER_OWNER": "-"}
        return {"PATH": os.environ["PATH"], **root, **ours}

    def start(self, name):
        with (self.work / f"{name}.log").open("wb") as log:
            return subprocess.Popen(self.command(self.services[name]), env=self.environment(self.services[name]), cwd=self.work,
                                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def log(self, name):
        return (self.work / f"{name}.log").read_text(errors="replace")

    def up(self):
        for name in in_order(self.services):
            for other, how in self.services[name].get("depends_on", {}).items():
                if other in self.services:
                    self.await_dependency(other, how["condition"])
            self.running[name] = self.start(name)
            print(f"ok    {name} is started: {' '.join(self.command(self.services[name]))}", flush=True)
        await_answer(f"http://127.0.0.1:{self.api}/readyz", lambda: self.alive("provisioner"))
        print("ok    provisioner is ready", flush=True)

    def await_dependency(self, name, condition):
        if condition == "service_completed_successfully":
            code = self.running[name].wait(STARTS_WITHIN_SECONDS)
            expect(code == 0, f"{name} ended with {code}:\n{self.log(name)}")
            return
        expect(condition == "service_healthy", f"{name}: condition {condition} is not known here")
        test = self.services[name]["healthcheck"]["test"]
        expect(test[0] == "CMD", f"{name}: the health check is no CMD")
        words = [self.here(word) for word in test[1:]]

        def healthy():
            self.alive(name)
            done = subprocess.run([self.programs.get(words[0], words[0]), *words[1:]], capture_output=True, check=False)
            return done.returncode == 0
        expect(until(healthy), f"{name} did not get healthy:\n{self.log(name)}")

    def alive(self, name):
        expect(self.running[name].poll() is None, f"{name} has ended:\n{self.log(name)}")

    def down(self):
        for process in reversed(self.running.values()):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def until(holds):
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.2)
    return False


def await_answer(url, alive):
    def answers():
        alive()
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
        return False
    expect(until(answers), f"{url} does not answer with 200")


def ask(machine, method, path, body=None, token="only-on-this-machine"):
    request = urllib.request.Request(f"http://127.0.0.1:{machine.api}{path}", method=method,
                                     data=None if body is None else json.dumps(body).encode(),
                                     headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def use(machine):
    """Provisions and deletes one user through the API that compose.yaml publishes."""
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
               for part in ({"alg": "none"}, {"iat": 1770000000, "exp": 4102444800})]
    auth = {"auth_mode": "chatgpt", "tokens": {"access_token": ".".join([*encoded, "c2ln"]), "refresh_token": "rt", "account_id": "acc"}}
    status, body = ask(machine, "POST", "/provision", {"user_id": "alice", "auth": auth})
    expect(status == 201, f"provision answers {status}: {body}")
    staged = pathlib.Path(machine.names["/mnt/efs"]) / "users/alice/codex/auth.json"
    expect(staged.exists(), f"no sign-in at {staged}")
    status, body = ask(machine, "GET", "/containers/alice")
    expect(status == 200 and body["credentials"] != "missing", f"status answers {status}: {body}")
    expect(ask(machine, "GET", "/containers/alice", token="another-token-than-this")[0] == 401, "any token will do")
    expect(until(lambda: ask(machine, "DELETE", "/containers/alice?data=purge")[0] == 404), "delete does not come to its end")
    print("ok    a user is provisioned, staged, looked at and deleted", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    form(compose)
    print("ok    pinned images, ports on loopback, both profiles complete", flush=True)
    with tempfile.TemporaryDirectory() as work:
        machine = Machine(compose, parser.parse_args().binary.resolve(), pathlib.Path(work))
        try:
            machine.up()
            use(machine)
            machine.running["provisioner"].terminate()
            code = machine.running["provisioner"].wait(40)
            expect(code == 0, f"the provisioner ended with {code}:\n{machine.log('provisioner')}")
        finally:
            machine.down()


if __name__ == "__main__":
    try:
        main()
    except Broken as broken:
        sys.exit(f"FAIL  compose.yaml: {broken}")
