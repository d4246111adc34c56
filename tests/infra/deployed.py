"""The scenario behind tests/infra/run.sh; see there."""

import argparse
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import warnings

import boto3

from cloud import CREDENTIALS, REGION, Cloud
from server import Server, call
from smoke import Checks, sign_in
from stacks import Stacks, request

ACCOUNT = "123456789012"
NAMES = ["OpenClawImages", "OpenClawDevNetwork", "OpenClawDevFleet", "OpenClawDevProvisioner", "OpenClawDevObservability"]
FLEET, PROVISIONER = NAMES[2], NAMES[3]
README = pathlib.Path("infra/README.md")
# The capabilities of a container's root if none are dropped (Docker's default, which Fargate has too).
CAPABILITIES = {"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
                "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"}


class Deployed:
    """One emulator with the stacks on it, one server, one user."""

    def __init__(self, options):
        self.checks = Checks()
        self.options = options
        self.work = pathlib.Path(options.work)
        self.cloud = Cloud(options.endpoint)
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION, "endpoint_url": options.endpoint}
        self.client = lambda service: boto3.client(service, **keys)
        self.stacks = Stacks(pathlib.Path(options.assembly), self.client("cloudformation"))
        self.server = None

    def deploys(self):
        # `cdk bootstrap` writes this parameter; the templates ask for it.
        self.client("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")
        for name in NAMES:
            made, of = self.stacks.deploy(name)
            self.checks.that(f"{name} is deployed, {made} of {of} resources", made > 0)
        for kind in sorted(self.stacks.not_made):
            print(f"skip  the emulator makes no {kind}")
        section = README.read_text().split("<!-- not made by the emulator -->")[1]
        self.checks.equal("infra/README.md lists what the emulator does not make", sorted(self.stacks.not_made), sorted(re.findall(r"`(AWS::[A-Za-z0-9:]+)`", section)))

    def the_base_is_whole(self):
        """moto's CloudFormation drops half of a task definition, roles and size among it; through ECS's own API it keeps them."""
        [properties] = self.stacks.resources(FLEET, "AWS::ECS::TaskDefinition").values()
        wanted = request(self.stacks.value(FLEET, properties, ACCOUNT, REGION))
        found, _ = self.cloud.definition("openclaw-dev")
        lost = sorted(set(wanted) - {name for name, value in found.items() if value} - {"tags"})
        if lost:
            print(f"skip  of the base the emulator's CloudFormation keeps no {', '.join(lost)}; it is registered again through ECS")
        for tag in wanted["tags"]:
            assert set(tag) == {"key", "value"}, tag
        arn = self.cloud.ecs.register_task_definition(**wanted)["taskDefinition"]["taskDefinitionArn"]
        self.checks.that("ECS takes the base as it stands in the template", arn.endswith(":task-definition/openclaw-dev:2"), arn)

    def serves(self):
        """With the environment, capabilities and secret of the service's own task definition."""
        [properties] = self.stacks.resources(PROVISIONER, "AWS::ECS::TaskDefinition").values()
        [container] = properties["ContainerDefinitions"]
        environment = {pair["Name"]: pair["Value"] for pair in container["Environment"]}
        self.roles_path = environment.get("PROVISIONER_USER_ROLES_PATH")
        of_roles = ["PROVISIONER_USER_ROLES", "PROVISIONER_USER_ROLES_BOUNDARY", "PROVISIONER_USER_ROLES_PATH"] if self.roles_path else []
        self.checks.equal("the service has its coordinates from SSM alone", sorted(environment), [
            "PROVISIONER_EFS_ROOT", "PROVISIONER_ENABLE_EXECUTE_COMMAND", "PROVISIONER_GATEWAY_PROBE", "PROVISIONER_LISTEN",
            "PROVISIONER_OWNER", "PROVISIONER_REPLICAS", "PROVISIONER_SSM_PATH", *of_roles])
        if self.roles_path:
            [boundary] = [policy["Arn"] for policy in self.client("iam").list_policies(Scope="Local")["Policies"]]
            environment["PROVISIONER_USER_ROLES_BOUNDARY"] = boundary
        self.checks.equal("its tokens come as a secret", [secret["Name"] for secret in container["Secrets"]], ["PROVISIONER_TOKENS"])
        self.efs_root = self.work / "efs"
        self.efs_root.mkdir()
        self.token = secrets.token_urlsafe(32)
        environment |= CREDENTIALS | {
            "AWS_ENDPOINT_URL": self.options.endpoint, "PROVISIONER_EFS_ROOT": str(self.efs_root), "PROVISIONER_TOKENS": f"web:provision:{self.token}\n",
        }
        self.is_root = os.geteuid() == 0
        if not self.is_root:
            environment["PROVISIONER_OWNER"] = "-"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PROVISIONER_")} | environment
        dropped = set(container["LinuxParameters"]["Capabilities"]["Drop"])
        self.checks.equal("it drops only capabilities that a container has", sorted(dropped - CAPABILITIES), [])
        os.environ.clear()
        os.environ.update(self.environment)
        self.server = Server(self.limited(CAPABILITIES - dropped), {}, self.work / "serve.log")
        self.server.start()

    def limited(self, capabilities):
        """The binary, as root without any other capability."""
        if not self.is_root:
            print("skip  the binary runs with the capabilities of the task definition: this is not root")
            return self.options.binary
        allowed = ",".join(f"+{name.lower()}" for name in sorted(capabilities))
        wrapper = self.work / "limited"
        wrapper.write_text(f'#!/bin/sh\nexec setpriv --bounding-set -all,{allowed} --inh-caps -all -- "{self.options.binary}" "$@"\n')
        wrapper.chmod(0o755)
        return str(wrapper)

    def doctor_is_content(self):
        done = subprocess.run([self.options.binary, "doctor", "--json"], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        told = {}
        for check in json.loads(done.stdout)["checks"]:
            told.setdefault(check["name"], []).append((check["verdict"], check["message"]))
        for name in ("ssm_parameters", "settings", "tokens_file", "cluster", "base_family", "network"):
            self.checks.that(f"doctor passes {name}", [verdict for verdict, _ in told[name]] == ["pass"], told[name])

    def call(self, method, path, body=None):
        return call(self.server, method, path, self.token, body)

    def a_user_comes_and_goes(self):
        if self.is_root:
            status = pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text()
            # chown, dac_override, fowner.
            self.checks.equal("the service has three capabilities", re.search(r"CapEff:\s*(\w+)", status)[1].lstrip("0"), "b")
        made = self.call("POST", "/provision", {"user_id": "alice", "auth": sign_in("rt_first")})
        # With a role of the user's own it goes on until ECS is known to see that.
        self.checks.equal("provision is accepted", made.status, 202 if self.roles_path else 201)
        definition, tags = self.cloud.definition(made.body["task_definition"])
        base, _ = self.cloud.definition("openclaw-dev")
        kept = ["taskRoleArn", "executionRoleArn", "networkMode", "requiresCompatibilities", "runtimePlatform", "cpu", "memory"]
        if self.roles_path:
            kept.remove("taskRoleArn")
        self.checks.equal("the clone has what the base has", {name: definition.get(name) for name in kept}, {name: base.get(name) for name in kept})
        container, of_base = definition["containerDefinitions"][0], base["containerDefinitions"][0]
        for name in ("readonlyRootFilesystem", "stopTimeout", "mountPoints", "logConfiguration", "image"):
            self.checks.equal(f"the clone's container has the base's {name}", container.get(name), of_base.get(name))
        # The drop, by the image's programs, then the entry script, then the base's command.
        drop = ["/usr/bin/env", "-u", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/usr/bin/setpriv", "--reuid=1000", "--regid=1000",
                "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
        self.checks.equal("the clone starts as root, and drops its rights first", (container["user"], container["entryPoint"]), ("0:0", drop))
        kept, dropped = {"SETUID", "SETGID", "SETPCAP", "KILL"}, container["linuxParameters"].pop("capabilities")
        self.checks.that("it drops ten of Docker's capabilities by name, and adds none",
                         len(dropped["drop"]) == 10 and not kept & set(dropped["drop"]) and not dropped.get("add"), dropped)
        linux = {name: value for name, value in of_base["linuxParameters"].items() if name != "capabilities"}
        self.checks.equal("the clone has the base's other parameters of Linux", container["linuxParameters"], linux)
        self.checks.equal("the clone's health check drops its rights first", container["healthCheck"],
                          of_base["healthCheck"] | {"command": ["CMD", *drop, *of_base["healthCheck"]["command"][1:]]})
        self.checks.equal("the clone starts with the entry script", container["command"],
                          (["/bin/sh", "/home/node/.openclaw/.provisioner/entry.sh", *of_base["command"]]))
        volume = definition["volumes"][0]["efsVolumeConfiguration"]
        [point] = self.cloud.access_points(volume["fileSystemId"], "/users/alice")
        self.checks.equal("the clone mounts through the user's access point", volume["authorizationConfig"], {"accessPointId": point["AccessPointId"], "iam": "ENABLED"})
        if self.roles_path:
            self.the_role_is_the_users(definition["taskRoleArn"], volume)
        self.checks.equal("the clone is tagged", (tags.get("openclaw:user-id"), tags.get("openclaw:role")), ("alice", "base"))
        service = self.cloud.service(made.body["service"])
        network = service["networkConfiguration"]["awsvpcConfiguration"]
        parameters = {name: self.client("ssm").get_parameter(Name=f"/openclaw/dev/{name}")["Parameter"]["Value"] for name in ("subnets", "security-groups")}
        self.checks.equal("the service is in the subnets and the group that the network stack made",
                          (network["subnets"], network["securityGroups"]), (parameters["subnets"].split(","), [parameters["security-groups"]]))
        staged = self.efs_root / "users/alice/codex/auth.json"
        if self.is_root:
            self.checks.equal("the sign-in belongs to 1000:1000", (staged.stat().st_uid, staged.stat().st_gid), (1000, 1000))
        resized = self.call("POST", "/containers/alice/resize", {"cpu": 1024, "memory_mib": 4096})
        self.checks.equal("resize answers 202", (resized.status, resized.body["size"]), (202, {"cpu": 1024, "memory_mib": 4096}))
        for _ in range(40):
            answer = self.call("DELETE", "/containers/alice?data=purge")
            if answer.status == 404:
                break
        self.checks.equal("delete continues to 404", answer.status, 404)
        self.checks.that("no file is left", not (self.efs_root / "users/alice").exists())
        if self.roles_path:
            self.checks.equal("no role is left", self.client("iam").list_roles(PathPrefix=self.roles_path)["Roles"], [])
        self.checks.equal("no service is left", self.cloud.service(made.body["service"]), None)
        self.checks.equal("SIGTERM ends the server with 0", self.server.stop(), 0)
        self.checks.that("no token is in the log", self.token not in self.server.log.read_text(errors="replace"))

    def the_role_is_the_users(self, arn, volume):
        iam = self.client("iam")
        [listed] = iam.list_roles(PathPrefix=self.roles_path)["Roles"]
        role = iam.get_role(RoleName=listed["RoleName"])["Role"]
        self.checks.equal("the clone runs with the user's role", arn, role["Arn"])
        self.checks.equal("the role is below the boundary", role["PermissionsBoundary"]["PermissionsBoundaryArn"], self.environment["PROVISIONER_USER_ROLES_BOUNDARY"])
        [statement] = iam.get_role_policy(RoleName=role["RoleName"], PolicyName="openclaw-user")["PolicyDocument"]["Statement"]
        point = f"arn:aws:elasticfilesystem:{REGION}:{ACCOUNT}:access-point/{volume['authorizationConfig']['accessPointId']}"
        self.checks.equal("the role mounts the user's files alone", statement["Condition"], {"ArnEquals": {"elasticfilesystem:AccessPointArn": [point]}})

    def everything(self):
        self.deploys()
        self.the_base_is_whole()
        self.serves()
        self.doctor_is_content()
        self.a_user_comes_and_goes()


def main():
    # boto3 warns when it will stop supporting this Python.
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--binary", "--endpoint", "--work", "--assembly"):
        parser.add_argument(name, required=True)
    deployed = Deployed(parser.parse_args())
    try:
        deployed.everything()
    except Exception as error:  # Print the summary and the log after any error.
        deployed.checks.that("the run finished", False, f"{type(error).__name__}: {error}")
    finally:
        if deployed.server:
            deployed.server.stop()
    checks = deployed.checks
    if checks.failed and deployed.server:
        print(f"--- the end of the server's log\n{deployed.server.tail()}", flush=True)
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
