"""The scenario behind tests/smoke.sh; see there."""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import re
import secrets
import stat
import subprocess
import sys
import threading
import time

from cloud import BASE_FAMILY, CREDENTIALS, Cloud
from gate import Gate
from server import Server, call

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:openai-AbCdEf"
PINNED_IMAGE = "ghcr.io/openclaw/openclaw:2026.4.20"
NEXT_BASE_IMAGE = "ghcr.io/openclaw/openclaw:2026.4.19"


class Checks:
    """Prints a line for each check and counts."""

    def __init__(self):
        self.passed = self.failed = 0

    def that(self, what, holds, otherwise=""):
        if holds:
            self.passed += 1
            print(f"ok    {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL  {what}: {otherwise}", flush=True)

    def equal(self, what, found, wanted):
        self.that(what, found == wanted, f"found {found!r}, wanted {wanted!r}")

    @staticmethod
    def skip(what, why):
        print(f"skip  {what}: {why}", flush=True)


def jwt(issued_at):
    """A token that parses and belongs to nobody."""
    claims = {"iat": issued_at, "exp": 4102444800, "https://api.openai.com/auth": {"chatgpt_account_id": "acc_smoke"}}
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in [*parts, b"signature"])


def sign_in(refresh_token, issued_at=1770000000):
    token = jwt(issued_at)
    return {"auth_mode": "chatgpt", "tokens": {
        "access_token": token, "refresh_token": refresh_token, "id_token": token, "account_id": "acc_smoke"}}


def seed(binary, endpoint, network):
    """Makes what infrastructure would have deployed."""
    # This release rotates its sign-in in a file, so that the test can read the file.
    command = [binary, "dev", "seed", "--endpoint", endpoint, "--openclaw-version", "2026.4.21", "--json"]
    if network:
        command += ["--subnets", network[0], "--security-groups", network[1]]
    done = subprocess.run(command, env={**os.environ, **CREDENTIALS}, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"dev seed failed: {done.stderr}")
    return json.loads(done.stdout)


class Smoke:
    """One run: an emulator, a server, a user."""

    def __init__(self, options):
        self.checks = Checks()
        self.cloud = Cloud(options.endpoint)
        self.run = secrets.token_hex(4)
        self.work = pathlib.Path(options.work)
        self.efs_root = self.work / "efs"
        self.efs_root.mkdir()
        network = self.cloud.network()
        seed(options.binary, options.endpoint, network)
        # A second seed works as well, and finds what the first made.
        self.seeded = seed(options.binary, options.endpoint, network)
        self.file_system = self.seeded["file_system_id"]
        self.gate = Gate(options.endpoint)
        self.token, self.read_token = (secrets.token_urlsafe(32) for _ in range(2))
        tokens = self.work / "tokens"
        hashed = hashlib.sha256(self.read_token.encode()).hexdigest()
        tokens.write_text(f"web:provision:{self.token}\ndashboard:read:{hashed}\n")
        tokens.chmod(0o600)
        environment = {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": self.gate.url,
            "PROVISIONER_SSM_PATH": self.seeded["PROVISIONER_SSM_PATH"],
            "PROVISIONER_EFS_ROOT": str(self.efs_root),
            "PROVISIONER_OWNER": "1000:1000" if os.geteuid() == 0 else "-",
            "PROVISIONER_TOKENS_FILE": str(tokens),
        }
        self.server = Server(options.binary, environment, self.work / "serve.log")
        self.like_aws = self.cloud.honours_client_tokens(self.file_system, f"smoke-probe-{self.run}")
        self.runs_tasks = False

    def close(self):
        self.server.stop()
        self.gate.close()

    def call(self, method, path, body=None):
        return call(self.server, method, path, self.token, body)

    def user(self, name):
        return f"smoke-{name}-{self.run}"

    def provision(self, user, **more):
        auth = more.pop("auth", None) or sign_in("rt_first")
        return self.call("POST", "/provision", {"user_id": user, "auth": auth, **more})

    def until(self, user, state, seconds=30):
        """Polls until a container is in `state` or the time is over; returns the last answer."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.call("GET", f"/containers/{user}")
            if answer.status != 200 or answer.body["state"] == state or time.monotonic() > deadline:
                return answer
            time.sleep(0.2)

    def delete(self, user, seconds=60):
        """Deletes as the README says: again and again until 404. Returns the answers' statuses."""
        statuses, deadline = [], time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = self.call("DELETE", f"/containers/{user}?data=purge")
            statuses.append(answer.status)
            if answer.status not in (202, 409):
                break
            time.sleep(0.5)
        return statuses

    def file(self, user):
        return self.efs_root / "users" / user / "codex" / "auth.json"

    def access_points(self, user):
        return self.cloud.access_points(self.file_system, f"/users/{user}")

    # The steps of the scenario, in order.

    def the_door(self):
        ready = call(self.server, "GET", "/readyz", None)
        self.checks.that("ready, without a token", ready.status == 200 and ready.body["ready"], ready)
        answers = [
            call(self.server, "GET", "/containers/nobody", None).status,
            call(self.server, "GET", "/containers/nobody", self.read_token).status,
            call(self.server, "POST", "/provision", self.read_token, {}).status,
        ]
        self.checks.equal("no token 401; a read token (by hash) may look, 404, and not provision, 403", answers, [401, 404, 403])

    def a_new_user(self, user):
        answer = self.provision(user, secrets={"OPENAI_API_KEY": SECRET}, variables={"TZ": "Europe/Zurich"})
        self.checks.that("provision answers 201 with the way to look", answer.status == 201
                         and answer.headers["Location"] == f"/containers/{user}", answer)
        if answer.status != 201:
            raise RuntimeError("the scenario cannot continue without a user")
        service = self.cloud.service(answer.body["service"])
        self.checks.that("the service exists, wanted once", service is not None and service["desiredCount"] == 1, service)
        self.checks.equal("the service runs the revision that the answer named",
                          service["taskDefinition"], answer.body["task_definition"])
        awsvpc = service.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
        self.checks.equal("the service has no public address", awsvpc.get("assignPublicIp"), "DISABLED")
        tags = {tag["key"]: tag["value"] for tag in service.get("tags", [])}
        self.checks.equal("the service is tagged with its user", tags.get("openclaw:user-id"), user)
        self.definition_is_whole(user, answer.body)

        points = self.access_points(user)
        self.checks.equal("there is one access point", len(points), 1)
        self.checks.equal("no answer names the access point", answer.body["access_point_id"], None)
        posix = points[0]["PosixUser"]
        self.checks.equal("the access point acts as 1000:1000", (posix["Uid"], posix["Gid"]), (1000, 1000))
        tags = {tag["Key"]: tag["Value"] for tag in points[0]["Tags"]}
        self.checks.equal("the access point is tagged with its user", tags.get("openclaw:user-id"), user)

        staged = self.file(user).stat()
        self.checks.equal("the staged sign-in has mode 0600", stat.filemode(staged.st_mode), "-rw-------")
        if os.geteuid() == 0:
            self.checks.equal("the staged sign-in belongs to 1000:1000", (staged.st_uid, staged.st_gid), (1000, 1000))
        content = json.loads(self.file(user).read_text())
        self.checks.equal("the staged sign-in is the one that was sent", content["tokens"]["refresh_token"], "rt_first")

    def definition_is_whole(self, user, body):
        """Checks what holds for every revision of a user, for any request."""
        definition, tags = self.cloud.definition(body["task_definition"])
        container = definition["containerDefinitions"][0]
        self.checks.equal("the revision is of the user family", definition["family"], f"{BASE_FAMILY}-user")
        homes = [entry["value"] for entry in container["environment"] if entry["name"] == "CODEX_HOME"]
        self.checks.equal("CODEX_HOME is set once, below the mount point", homes, ["/home/node/.openclaw/codex"])
        names = [entry["name"] for entry in container["environment"]]
        self.checks.equal("no variable is there twice", sorted(names), sorted(set(names)))
        self.checks.equal("secrets are by reference", container.get("secrets"), [{"name": "OPENAI_API_KEY", "valueFrom": SECRET}])
        self.checks.equal("the image is the one that the answer named", container["image"], body["image"])
        self.checks.equal("the size is the one that the answer named", (definition["cpu"], definition["memory"]),
                          (str(body["size"]["cpu"]), str(body["size"]["memory_mib"])))
        volume = definition["volumes"][0]["efsVolumeConfiguration"]
        [point] = self.access_points(user)
        self.checks.equal("the volume goes through the access point, encrypted, by IAM",
                          (volume["authorizationConfig"], volume["transitEncryption"], volume.get("rootDirectory", "/")),
                          ({"accessPointId": point["AccessPointId"], "iam": "ENABLED"}, "ENABLED", "/"))
        self.checks.equal("the revision is tagged with its user", tags.get("openclaw:user-id"), user)
        return definition

    def looks(self, user):
        answer = self.until(user, "running", seconds=10)
        self.runs_tasks = self.cloud.has_tasks(answer.body["service"])
        self.checks.that("status answers 200 with the sign-in present",
                         answer.status == 200 and answer.body["credentials"] == "present", answer)
        if self.runs_tasks and not self.cloud.checks_health(answer.body["service"]):
            self.checks.equal("the container runs, as far as its task does", answer.body["phase"], "task_running")
            self.checks.skip("the container is running and ready", "this emulator runs no container, and no health check in it")
        elif self.runs_tasks:
            self.checks.that("the container is running and ready", answer.body["state"] == "running" and answer.body["ready"], answer)
        else:
            self.checks.skip("the container is running and ready", "this emulator starts no task for a service")

    def provisions_again(self, user):
        before = self.call("GET", f"/containers/{user}").body
        # The container rotated its sign-in meanwhile; the caller sends the old one again.
        stored = json.loads(self.file(user).read_text())
        stored["tokens"]["refresh_token"] = "rt_rotated"
        stored["last_refresh"] = "2026-06-01T00:00:00Z"
        self.file(user).write_text(json.dumps(stored))
        again = self.provision(user)
        self.checks.that("provisioning again answers 200, or 202 on the way up", again.status in (200, 202), again)
        self.checks.equal("provisioning again registers nothing", again.body["task_definition"], before["task_definition"])
        self.checks.equal("a rotated sign-in is not overwritten by an older one", again.body["credentials"], "kept_fresher")
        kept = json.loads(self.file(user).read_text())["tokens"]["refresh_token"]
        self.checks.equal("the rotated token is still in the file", kept, "rt_rotated")
        newer = self.provision(user, auth=sign_in("rt_newer", issued_at=1790000000) | {"last_refresh": "2026-09-01T00:00:00Z"})
        self.checks.equal("a newer sign-in is written", newer.body["credentials"], "written")

    def resizes(self, user):
        wrong = self.call("POST", f"/containers/{user}/resize", {"cpu": 256, "memory_mib": 16384})
        self.checks.equal("a size that Fargate does not have is refused", (wrong.status, wrong.body["code"]), (422, "invalid_field"))
        answer = self.call("POST", f"/containers/{user}/resize", {"cpu": 1024, "memory_mib": 4096})
        self.checks.equal("resize answers 202", answer.status, 202)
        self.definition_is_whole(user, answer.body)
        service = self.cloud.service(answer.body["service"])
        self.checks.equal("the service runs the resized revision", service["taskDefinition"], answer.body["task_definition"])
        again = self.call("POST", f"/containers/{user}/resize", {"cpu": 1024, "memory_mib": 4096})
        self.checks.equal("the same size again answers 200", again.status, 200)

    def redeploys(self, user):
        missing = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/smoke-{self.run}:2026.4.20-abc1234"
        refused = self.call("POST", f"/containers/{user}/redeploy", {"image": missing})
        self.checks.equal("an image that ECR does not have is refused", (refused.status, refused.body.get("code")), (422, "image_not_found"))
        base = self.cloud.deploy_base(NEXT_BASE_IMAGE, ("SMOKE", self.run))
        pinned = self.call("POST", f"/containers/{user}/redeploy", {"image": PINNED_IMAGE})
        self.checks.equal("redeploy answers 202", pinned.status, 202)
        self.checks.equal("the new revision comes from the newest base", pinned.body["base_task_definition"], base)
        self.checks.equal("the image is the pin, and not the base's", pinned.body["image"], PINNED_IMAGE)
        self.checks.equal("the size outlives a redeploy", pinned.body["size"], {"cpu": 1024, "memory_mib": 4096})
        definition = self.definition_is_whole(user, pinned.body)
        environment = {entry["name"]: entry["value"] for entry in definition["containerDefinitions"][0]["environment"]}
        self.checks.equal("the new base's variable and the user's are both there",
                          (environment.get("SMOKE"), environment.get("TZ")), (self.run, "Europe/Zurich"))
        kept = self.provision(user)
        self.checks.equal("a provision removes no pin", kept.body["image"], PINNED_IMAGE)
        unpinned = self.call("POST", f"/containers/{user}/redeploy", {"image": None})
        self.checks.equal("image null goes back to the base's image", (unpinned.status, unpinned.body["image"]), (202, NEXT_BASE_IMAGE))
        forced = self.call("POST", f"/containers/{user}/redeploy", {"force": True})
        self.checks.equal("force restarts the same revision", (forced.status, forced.body["task_definition"]),
                          (202, unpinned.body["task_definition"]))

    def stops_and_starts(self, user):
        stopped = self.call("POST", f"/containers/{user}/stop")
        self.checks.that("stop answers 202, or 200 where nothing ran", stopped.status in (200, 202), stopped)
        service = self.cloud.service(stopped.body["service"])
        self.checks.equal("the service is wanted zero times", service["desiredCount"], 0)
        self.checks.equal("status says stopped", self.until(user, "stopped").body["state"], "stopped")
        started = self.call("POST", f"/containers/{user}/start")
        self.checks.equal("start answers 202", started.status, 202)
        service = self.cloud.service(started.body["service"])
        self.checks.equal("the service is wanted once", service["desiredCount"], 1)

    def goes(self, user):
        name = self.call("GET", f"/containers/{user}").body["service"]
        statuses = self.delete(user)
        self.checks.that("delete answers 202 until it answers 404", statuses[0] == 202 and statuses[-1] == 404, statuses)
        self.nothing_is_left(user, name)

    def nothing_is_left(self, user, name):
        self.checks.equal("status says 404", self.call("GET", f"/containers/{user}").status, 404)
        self.checks.equal("no service is left", self.cloud.service(name), None)
        self.checks.equal("no revision is left", self.revisions_of(user), [])
        self.checks.that("no file is left", not (self.efs_root / "users" / user).exists(), list(self.efs_root.rglob("*")))
        if self.like_aws or not self.access_points(user):
            self.checks.equal("no access point is left", self.access_points(user), [])
        else:
            self.checks.skip("no access point is left", "this emulator makes a second one for a repeated ClientToken")

    def revisions_of(self, user):
        arns = self.cloud.ecs.list_task_definitions(familyPrefix=f"{BASE_FAMILY}-user", status="ACTIVE")["taskDefinitionArns"]
        definitions = [self.cloud.definition(arn)[0] for arn in arns]
        return [definition["taskDefinitionArn"] for definition in definitions
                if definition["containerDefinitions"][0].get("dockerLabels", {}).get("openclaw.provisioner.user-id") == user]

    def killed_while(self, action, *, takes_effect, request):
        """Sends `request`, kills the server while it waits for the answer to `action`, and starts the next one."""
        self.gate.arm(action, takes_effect=takes_effect)

        def ignored():
            try:
                request()
            except OSError:
                pass  # The server dies under this request; that is the point.

        caller = threading.Thread(target=ignored, daemon=True)
        caller.start()
        held = self.gate.wait_until_held(30)
        self.checks.that(f"the server is killed in the middle of {action}", held, "it was never called")
        self.server.kill()
        caller.join(30)
        self.server.start()

    def survives_kill_in_provision(self, name, *, takes_effect):
        user = self.user(name)
        self.killed_while("CreateService", takes_effect=takes_effect, request=lambda: self.provision(user))
        again = self.provision(user)
        wanted = (200, 202) if takes_effect else (201,)
        self.checks.that(f"the same provision again answers {' or '.join(map(str, wanted))}", again.status in wanted, again)
        service = self.cloud.service(again.body["service"])
        self.checks.that("the service is there and runs a revision of this user",
                         service is not None and service["taskDefinition"] in self.revisions_of(user), service)
        if self.like_aws:
            self.checks.equal("there is still one access point", len(self.access_points(user)), 1)
        else:
            self.checks.skip("there is still one access point", "this emulator makes a second one for a repeated ClientToken")
        return user, again.body["service"]

    def survives_kill_in_delete(self, user, name):
        self.killed_while("DeregisterTaskDefinition", takes_effect=False,
                          request=lambda: self.call("DELETE", f"/containers/{user}?data=purge"))
        statuses = self.delete(user)
        self.checks.that("delete goes on after the kill, to 404", statuses[-1] == 404, statuses)
        self.checks.equal("no service is left", self.cloud.service(name), None)
        self.checks.that("no file is left", not (self.efs_root / "users" / user).exists(), list(self.efs_root.rglob("*")))
        if self.like_aws:
            self.checks.equal("no access point is left", self.access_points(user), [])

    def no_secret_is_logged(self):
        log = self.server.log.read_text(errors="replace")
        shown = [word for word in ("rt_first", "rt_newer", "rt_rotated", jwt(1770000000), self.token, self.read_token) if word in log]
        self.checks.equal("no token is in the log", len(shown), 0)
        panics = re.findall(r".*panicked.*", log)
        self.checks.equal("nothing panicked", panics, [])

    def everything(self):
        self.server.start()
        self.the_door()
        user = self.user("main")
        self.a_new_user(user)
        self.looks(user)
        self.provisions_again(user)
        self.resizes(user)
        self.redeploys(user)
        self.stops_and_starts(user)
        self.goes(user)
        self.survives_kill_in_provision("lost", takes_effect=False)
        killed = self.survives_kill_in_provision("unanswered", takes_effect=True)
        self.survives_kill_in_delete(*killed)
        self.delete(self.user("lost"))
        self.checks.equal("SIGTERM ends the server with 0", self.server.stop(), 0)
        self.no_secret_is_logged()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--work", required=True)
    smoke = Smoke(parser.parse_args())
    try:
        smoke.everything()
    except Exception as error:  # Print the summary and the log after any error.
        smoke.checks.that("the run finished", False, f"{type(error).__name__}: {error}")
    finally:
        smoke.close()
    checks = smoke.checks
    if checks.failed:
        print(f"--- the end of the server's log\n{smoke.server.tail()}", flush=True)
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
