"""infra/redeploy-all.sh over the real binary and its emulator."""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "only-for-this-test"
USERS = ["alice", "bob", "carol"]


@unittest.skipUnless(shutil.which("jq") and os.environ.get("PROVISIONER_BINARY"), "needs jq and PROVISIONER_BINARY")
class RedeployAll(unittest.TestCase):
    def setUp(self):
        place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, place)
        self.binary = os.environ["PROVISIONER_BINARY"]
        out = (place / "out").open("w+")
        self.addCleanup(out.close)
        dev = subprocess.Popen([self.binary, "dev", "--listen", "127.0.0.1:0", "--emulator-listen", "127.0.0.1:0", "--dir",
                                str(place / "dev"), "--token", TOKEN],
                               stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL)
        self.addCleanup(dev.wait)
        self.addCleanup(dev.terminate)
        found = []
        self.until(lambda: found.extend(re.findall(r"http://127\.0\.0\.1:\d+", (place / "out").read_text())) or len(found) > 1)
        self.api, self.emulator = found[0], next(url for url in found if url != found[0])
        claims = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
                  for part in ({"alg": "none"}, {"iat": 1770000000, "exp": 4102444800})]
        for user in USERS:
            tokens = {"access_token": ".".join([*claims, "c2ln"]), "refresh_token": f"rt_{user}", "account_id": user}
            self.ask("POST", "/provision", {"user_id": user, "auth": {"auth_mode": "chatgpt", "tokens": tokens}})
        self.until(lambda: all(self.ask("GET", f"/containers/{user}")["state"] == "running" for user in USERS))

    def until(self, holds):
        deadline = time.monotonic() + 60
        while not holds():
            self.assertLess(time.monotonic(), deadline, "it does not come to that")
            time.sleep(0.2)

    def ask(self, method, path, body=None, url=None, headers=()):
        request = urllib.request.Request((url or self.api) + path, method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **dict(headers)})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def new_base(self, image):
        """Deploys the base with another image, as infrastructure would."""
        base = self.ecs("DescribeTaskDefinition", {"taskDefinition": "openclaw-dev"})["taskDefinition"]
        wanted = ("family", "networkMode", "requiresCompatibilities", "cpu", "memory", "executionRoleArn", "taskRoleArn",
                  "containerDefinitions", "volumes")
        base["containerDefinitions"][0]["image"] = image
        self.ecs("RegisterTaskDefinition", {name: base[name] for name in wanted})

    def ecs(self, action, body):
        return self.ask("POST", "/", body, self.emulator, {"X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{action}"})

    def redeploy_all(self, revision):
        return subprocess.run([str(ROOT / "infra/redeploy-all.sh"), revision], env={**os.environ, "URL": self.api, "TOKEN": TOKEN},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)

    def listed(self, revision):
        """Who is known to be made from it: the list is a few seconds old, and learns revisions from spare capacity."""
        return [found["user_id"] for found in self.ask("GET", f"/containers?base_revision={revision}&state=running")["containers"]]

    def bases(self):
        return [self.ask("GET", f"/containers/{user}")["base_task_definition"].rpartition("/")[2] for user in USERS]

    def test_all_get_the_newest_base_and_the_first_that_fails_is_the_last_that_is_touched(self):
        self.new_base("ghcr.io/openclaw/openclaw:2026.9.5")
        self.until(lambda: self.listed("openclaw-dev:1") == USERS)
        done = self.redeploy_all("openclaw-dev:1")
        self.assertEqual((done.returncode, done.stdout.splitlines()[-1]), (0, "3 redeployed, none is left"), done.stderr)
        self.assertEqual(self.bases(), ["openclaw-dev:2"] * 3)

        self.new_base("ghcr.io/openclaw/sim-crash:2026.9.6")
        self.until(lambda: self.listed("openclaw-dev:2") == USERS)
        done = self.redeploy_all("openclaw-dev:2")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("alice: {", done.stderr)
        self.assertIn("stopped after 0 of 3", done.stderr)
        self.assertEqual(self.bases()[1:], ["openclaw-dev:2"] * 2)


class Usage(unittest.TestCase):
    def test_usage_is_said_where_something_is_missing(self):
        done = subprocess.run([str(ROOT / "infra/redeploy-all.sh")], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("usage:", done.stderr)


if __name__ == "__main__":
    unittest.main()
