"""infra/verify.sh with a stand-in for the AWS CLI, which answers like a deployment."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from test_operate import AWS, NETWORK, ROOT, TASK

CHECKS = ["not_root", "no_capabilities", "no_new_privileges", "no_credentials_variable", "no_environment_shows_them",
          "metadata_does_not_show_them", "directory_is_writable", "programs_run_from_tmp", "sigterm_arrives"]
ROOM = ["fargate_vcpus", "subnet_addresses", "network_interfaces", "roles"]
DEFINITION = {
    "family": "openclaw-dev-user", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "512", "memory": "2048",
    "executionRoleArn": "execution", "taskRoleArn": "task", "taskDefinitionArn": "arn", "revision": 3,
    "containerDefinitions": [
        {"name": "router", "image": "router:1"},
        {"name": "openclaw", "image": "openclaw:1", "entryPoint": ["/usr/bin/env"], "healthCheck": {"command": ["CMD", "x"]},
         "dockerLabels": {"openclaw.provisioner.user-id": "alice", "openclaw.provisioner.isolation": "without-role"},
         "logConfiguration": {"options": {"awslogs-group": "/openclaw/dev/containers", "awslogs-stream-prefix": "openclaw"}}},
    ],
    "volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "authorizationConfig": {"iam": "ENABLED", "accessPointId": "fsap-1"}}}],
}


@unittest.skipUnless(shutil.which("jq"), "needs jq")
class Verify(unittest.TestCase):
    def setUp(self):
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place)
        (self.place / "aws").write_text(AWS)
        (self.place / "aws").chmod(0o755)
        shutil.copy(ROOT / "infra/verify.sh", self.place / "verify.sh")
        (self.place / "operate.sh").write_text("#!/bin/sh\ncat \"$(dirname \"$0\")/status\"\n")
        (self.place / "operate.sh").chmod(0o755)
        self.status = {"user_id": "alice", "service": "openclaw-alice-1"}
        self.said = [f"VERIFY {check} yes" for check in CHECKS] + ["VERIFY waits yes"]
        self.answers = {
            "ecs describe-services": json.dumps(["arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev-user:3", NETWORK]),
            "ecs describe-task-definition": json.dumps(DEFINITION),
            "ecs register-task-definition": "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev-verify:1",
            "ecs run-task": TASK,
            "ecs describe-tasks": json.dumps([None, "ResourceInitializationError: access denied by server while mounting"]),
            "ecs list-tasks": json.dumps([TASK]),
            "logs filter-log-events": "1",
            "cloudtrail lookup-events": "1",
            "service-quotas get-service-quota": "6.0",
            "ec2 describe-subnets": json.dumps([["subnet-1", 4080], ["subnet-2", 4091]]),
            "ec2 describe-network-interfaces": "5",
            "iam get-account-summary": "31\t1000",
        }

    def verify(self, *arguments):
        (self.place / "status").write_text(json.dumps(self.status))
        self.answers["logs get-log-events"] = json.dumps(self.said)
        (self.place / "answers").write_text(json.dumps(self.answers))
        environment = {**os.environ, "PATH": f"{self.place}:{os.environ['PATH']}", "NOTES": str(self.place / "notes"),
                       "ANSWERS": str(self.place / "answers"), "VERIFY_POLLS": "1", "VERIFY_PAUSE": "0"}
        done = subprocess.run([str(self.place / "verify.sh"), *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return done, {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}

    def calls(self, operation):
        notes = [json.loads(line) for line in (self.place / "notes").read_text().splitlines()]
        return [note[2:] for note in notes if " ".join(note[:2]) == operation]

    def test_each_check_that_the_stand_in_can_show_says_yes_for_a_good_deployment(self):
        done, told = self.verify("dev", "alice")
        # The stand-in has one answer for describe-tasks: that of the refused mount.
        self.assertEqual({name for name, verdict in told.items() if verdict != "yes"}, {"health_check"}, done.stdout + done.stderr)
        self.assertEqual({*CHECKS, "mount_without_access_point", "task_events_are_kept", "mounts_are_in_cloudtrail", *ROOM},
                         told.keys() - {"health_check"})

    def test_the_task_without_an_access_point_runs_no_user_code_and_is_deregistered(self):
        self.verify("dev", "alice")
        [registered] = self.calls("ecs register-task-definition")
        open_one = json.loads(registered[registered.index("--cli-input-json") + 1])
        self.assertEqual(open_one["family"], "openclaw-dev-verify")
        self.assertEqual(open_one["volumes"][0]["efsVolumeConfiguration"]["authorizationConfig"], {"iam": "ENABLED"})
        self.assertEqual([(one["entryPoint"], one["command"], one["dockerLabels"]) for one in open_one["containerDefinitions"]],
                         [(["/bin/sh", "-c"], ["exit 0"], {})] * 2)
        self.assertNotIn("revision", open_one)
        self.assertEqual(len(self.calls("ecs deregister-task-definition")), 1)

    def test_the_probe_runs_in_the_users_own_revision_behind_its_entry_point(self):
        self.verify("dev", "alice")
        run = dict(zip(*[iter(self.calls("ecs run-task")[1])] * 2))
        [override] = json.loads(run["--overrides"])["containerOverrides"]
        self.assertEqual((override["name"], override["command"][:2]), ("openclaw", ["/bin/sh", "-c"]))
        self.assertTrue(run["--task-definition"].endswith("openclaw-dev-user:3"))

    def test_a_mount_that_works_without_an_access_point_is_a_failure(self):
        self.answers["ecs describe-tasks"] = json.dumps([0, "Essential container in task exited"])
        done, told = self.verify("dev", "alice")
        self.assertEqual((done.returncode, told["mount_without_access_point"]), (1, "NO"))

    def own_role(self):
        definition = json.loads(json.dumps(DEFINITION))
        definition["taskRoleArn"] = "arn:aws:iam::123456789012:role/openclaw/dev/users/openclaw-alice-0123456789ab"
        self.answers |= {"ecs describe-task-definition": json.dumps(definition), "efs create-access-point": "fsap-verify",
                         "efs describe-access-points": "available"}

    def test_a_users_own_role_is_tried_with_another_access_point_that_goes_again(self):
        self.own_role()
        done, told = self.verify("dev", "alice")
        self.assertEqual(told["own_role_mounts_own_files_alone"], "yes", done.stdout + done.stderr)
        tried = json.loads(dict(zip(*[iter(self.calls("ecs register-task-definition")[1])] * 2))["--cli-input-json"])
        self.assertEqual(tried["taskRoleArn"].rsplit("/", 1)[1], "openclaw-alice-0123456789ab")
        self.assertEqual(tried["volumes"][0]["efsVolumeConfiguration"]["authorizationConfig"], {"iam": "ENABLED", "accessPointId": "fsap-verify"})
        self.assertEqual(self.calls("efs delete-access-point"), [["--access-point-id", "fsap-verify"]])

    def test_an_error_of_another_kind_is_not_taken_for_a_refusal_of_the_file_system(self):
        self.own_role()
        self.answers["ecs describe-tasks"] = json.dumps([None, "ResourceInitializationError: unable to pull secrets or registry auth"])
        _, told = self.verify("dev", "alice")
        self.assertEqual((told["mount_without_access_point"], told["own_role_mounts_own_files_alone"]), ("????", "????"))
        self.answers["efs describe-access-points"] = "creating"
        _, told = self.verify("dev", "alice")
        self.assertEqual(told["own_role_mounts_own_files_alone"], "????")

    def test_a_users_own_role_that_mounts_anything_is_a_failure(self):
        self.own_role()
        self.answers["ecs describe-tasks"] = json.dumps([0, "Essential container in task exited"])
        done, told = self.verify("dev", "alice")
        self.assertEqual((done.returncode, told["own_role_mounts_own_files_alone"]), (1, "NO"))
        self.assertEqual(len(self.calls("efs delete-access-point")), 1)

    def test_what_was_not_said_is_not_taken_for_a_yes(self):
        self.said = ["VERIFY not_root yes", "VERIFY no_capabilities NO", "VERIFY waits yes"]
        done, told = self.verify("dev", "alice")
        self.assertEqual(done.returncode, 1)
        self.assertEqual([told[check] for check in CHECKS[:3]], ["yes", "NO", "NO"])

    def test_a_revision_that_does_not_ask_for_isolation_is_a_failure(self):
        definition = json.loads(json.dumps(DEFINITION))
        del definition["containerDefinitions"][1]["dockerLabels"]["openclaw.provisioner.isolation"]
        self.answers["ecs describe-task-definition"] = json.dumps(definition)
        self.assertEqual(self.verify("dev", "alice")[1]["isolated"], "NO")

    def test_a_check_that_cannot_know_yet_does_not_fail(self):
        self.answers |= {"cloudtrail lookup-events": "0", "service-quotas get-service-quota": ""}
        told = self.verify("dev", "alice")[1]
        self.assertEqual((told["mounts_are_in_cloudtrail"], told["fargate_vcpus"]), ("????", "????"))

    def test_a_quota_that_is_used_up_is_a_failure(self):
        for answer in [{"ec2 describe-subnets": json.dumps([["subnet-1", 40], ["subnet-2", 0]])},
                       {"ec2 describe-network-interfaces": "6"}, {"iam get-account-summary": "1000\t1000"}]:
            with self.subTest(answer):
                before = dict(self.answers)
                self.answers |= answer
                done, told = self.verify("dev", "alice")
                self.assertEqual((done.returncode, [told[name] for name in ROOM].count("NO")), (1, 1), done.stdout)
                self.answers = before

    def test_a_quota_that_cannot_be_read_is_reported_and_does_not_fail(self):
        self.answers |= {"ec2 describe-subnets": "", "ec2 describe-network-interfaces": "", "iam get-account-summary": "",
                         "service-quotas get-service-quota": ""}
        told = self.verify("dev", "alice")[1]
        self.assertEqual([told[name] for name in ROOM], ["????"] * 4)

    def test_a_user_who_does_not_exist_starts_nothing(self):
        self.status = {}
        done, _ = self.verify("dev", "alice")
        self.assertEqual(done.returncode, 2)
        self.assertFalse((self.place / "notes").exists())


if __name__ == "__main__":
    unittest.main()
