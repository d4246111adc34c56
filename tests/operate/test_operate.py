"""infra/operate.sh with a stand-in for the AWS CLI, which records its arguments and answers from a file."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}}
TASK = "arn:aws:ecs:us-east-1:123456789012:task/openclaw-prod/0123456789abcdef"
AWS = """#!/usr/bin/env python3
import json, os, sys
with open(os.environ["NOTES"], "a") as notes:
    notes.write(json.dumps(sys.argv[1:]) + "\\n")
print(end=json.load(open(os.environ["ANSWERS"])).get(" ".join(sys.argv[1:3]), ""))
"""


@unittest.skipUnless(shutil.which("jq"), "needs jq")
class Operate(unittest.TestCase):
    def setUp(self):
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place)
        (self.place / "aws").write_text(AWS)
        (self.place / "aws").chmod(0o755)
        self.answers = {
            "ecs describe-services": json.dumps(NETWORK),
            "ecs run-task": TASK,
            "ecs describe-task-definition": "/openclaw/prod/provisioner\tprovisioner",
            "logs get-log-events": json.dumps(["alice  running", "two words"]),
            "ecs describe-tasks": json.dumps([0, "Essential container in task exited"]),
        }

    def operate(self, *arguments):
        (self.place / "answers").write_text(json.dumps(self.answers))
        environment = {**os.environ, "PATH": f"{self.place}:{os.environ['PATH']}", "NOTES": str(self.place / "notes"),
                       "ANSWERS": str(self.place / "answers")}
        return subprocess.run([str(ROOT / "infra/operate.sh"), *arguments], env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)

    def calls(self):
        calls = [json.loads(line) for line in (self.place / "notes").read_text().splitlines()]
        return {" ".join(call[:2]): dict(zip(call[2::2], call[3::2])) for call in calls if "--start-from-head" not in call}

    def test_a_command_runs_in_the_services_network_with_its_words_unchanged(self):
        done = self.operate("prod", "redeploy", "alice", "--image", "x:1 2", "--json", "it's")
        self.assertEqual((done.returncode, done.stdout), (0, "alice  running\ntwo words\n"), done.stderr)
        run = self.calls()["ecs run-task"]
        self.assertEqual(json.loads(run["--network-configuration"]), NETWORK)
        self.assertEqual((run["--cluster"], run["--task-definition"]), ("openclaw-prod", "openclaw-prod-provisioner"))
        self.assertEqual(json.loads(run["--overrides"]), {"containerOverrides": [
            {"name": "provisioner", "command": ["redeploy", "alice", "--image", "x:1 2", "--json", "it's"]}]})

    def test_the_exit_code_is_the_commands(self):
        self.answers["ecs describe-tasks"] = json.dumps([3, "Essential container in task exited"])
        self.assertEqual(self.operate("prod", "status", "nobody").returncode, 3)

    def test_the_error_says_why_a_task_never_ran(self):
        self.answers["ecs describe-tasks"] = json.dumps([None, "CannotPullContainerError: not found"])
        done = self.operate("prod", "status", "alice")
        self.assertEqual(done.returncode, 1)
        self.assertIn("CannotPullContainerError", done.stderr)

    def test_an_environment_that_is_not_deployed_starts_nothing(self):
        self.answers["ecs describe-services"] = "null"
        done = self.operate("prod", "status", "alice")
        self.assertEqual(done.returncode, 1)
        self.assertIn("openclaw-prod has no service", done.stderr)
        self.assertNotIn("ecs run-task", self.calls())

    def test_missing_words_print_the_usage(self):
        done = self.operate("prod")
        self.assertEqual(done.returncode, 2)
        self.assertIn("usage: infra/operate.sh ENV COMMAND", done.stderr)


if __name__ == "__main__":
    unittest.main()
