"""The real binary as `dev`: HTTP API, embedded AWS emulator, users' files in a directory."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Callable

from container import Definition

TOKEN = "harness"


class Provisioner:
    """Ends with the `with` block."""

    def __init__(self, binary: Path, version: str, directory: Path):
        self.directory = directory
        self.log = directory.with_suffix(".log")
        self.command = [str(binary), "dev", "--stale-reads", "0", "--listen", "127.0.0.1:0", "--emulator-listen", "127.0.0.1:0",
                        "--dir", str(directory), "--token", TOKEN, "--openclaw-version", version]

    def __enter__(self) -> "Provisioner":
        log = self.log.open("w")
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(600):
            # The banner names the free ports that it took.
            said = re.search(r"API (http://\S+)\s+AWS emulator (http://\S+)", self.log.read_text())
            if said:
                self.api, self.emulator = said.groups()
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"the provisioner did not start: {self.log.read_text()[-500:]}")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def call(self, method: str, path: str, body: dict | None = None) -> tuple[int, dict]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return request(method, self.api + path, headers | {"Content-Type": "application/json"}, body)

    def provision(self, user: str, auth: dict, secrets: dict[str, str] | None = None) -> tuple[int, dict]:
        return self.call("POST", "/provision", {"user_id": user, "auth": auth} | ({"secrets": secrets} if secrets else {}))

    def await_running(self, user: str, seconds: float = 180) -> dict:
        """The user's container, once the emulated task runs."""
        until = time.monotonic() + seconds
        while True:
            _, container = self.call("GET", f"/containers/{user}")
            if container.get("state") == "running" or time.monotonic() > until:
                return container
            time.sleep(0.25)

    def plan(self, user: str) -> str:
        """Which kind of place the release uses, such as `store`."""
        return self.call("GET", f"/containers/{user}/credentials")[1]["authority"]

    def gateway(self, user: str) -> dict:
        """The API's answer about the gateway's address."""
        return self.call("GET", f"/containers/{user}/gateway")[1]

    def gateway_token(self, user: str) -> str:
        status, answer = self.call("GET", f"/containers/{user}/gateway")
        if not answer.get("token"):
            raise RuntimeError(f"GET /containers/{user}/gateway: {status}, no token")
        return answer["token"]

    def definition(self, arn: str) -> Definition:
        """The definition that AWS holds, not the provisioner's answer about it."""
        return Definition.of(self.ecs("DescribeTaskDefinition", {"taskDefinition": arn})["taskDefinition"])

    def restrict(self, template: Path) -> None:
        """Registers the base again, with the root file system that infrastructure deploys, and its read-only and writable parts."""
        base = self.ecs("DescribeTaskDefinition", {"taskDefinition": "openclaw-dev"})["taskDefinition"]
        resources = json.loads(template.read_text())["Resources"].values()
        [deployed] = [one["Properties"] for one in resources if one["Type"] == "AWS::ECS::TaskDefinition"]
        [container] = deployed["ContainerDefinitions"]
        linux = lower(container["LinuxParameters"])
        restricted = base["containerDefinitions"][0] | {
            "readonlyRootFilesystem": container["ReadonlyRootFilesystem"], "linuxParameters": linux}
        kept = ("family", "taskRoleArn", "executionRoleArn", "networkMode", "volumes", "requiresCompatibilities", "cpu", "memory")
        self.ecs("RegisterTaskDefinition", {name: base[name] for name in kept} | {"containerDefinitions": [restricted]})

    def rebase(self, change: Callable[[dict, dict], None]) -> None:
        """Registers the base again after a change to it and to its container."""
        base = self.ecs("DescribeTaskDefinition", {"taskDefinition": "openclaw-dev"})["taskDefinition"]
        kept = ("family", "taskRoleArn", "executionRoleArn", "networkMode", "volumes", "requiresCompatibilities", "cpu",
                "memory", "containerDefinitions")
        base = {name: base[name] for name in kept}
        change(base, base["containerDefinitions"][0])
        self.ecs("RegisterTaskDefinition", base)

    def ecs(self, action: str, body: dict) -> dict:
        headers = {"X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{action}", "Content-Type": "application/x-amz-json-1.1"}
        status, answer = request("POST", self.emulator + "/", headers, body)
        if status != 200:
            raise RuntimeError(f"{action}: the emulator answered {status}: {answer}")
        return answer

    def user_directory(self, user: str) -> Path:
        return (self.directory / "efs" / "users" / user).resolve()


def lower(value):
    """CloudFormation's names of members as ECS writes them."""
    if isinstance(value, list):
        return [lower(one) for one in value]
    if isinstance(value, dict):
        return {name[0].lower() + name[1:]: lower(one) for name, one in value.items()}
    return value


def request(method: str, url: str, headers: dict[str, str], body: dict | None) -> tuple[int, dict]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=180) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")
