"""What the workflows' scripts do, each over files and a git repository of its own. `gh` is a stand-in that notes its
arguments."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parents[1]
DOCKERFILE = """ARG UPSTREAM=ghcr.io/openclaw/openclaw:2026.9.6
ARG PACKAGES="curl=7.88 git=1:2.39"
FROM ${UPSTREAM}
RUN true
"""
DIGEST = "@sha256:" + "0" * 64
GH = """#!/bin/sh
echo "$*" >>"$GH_NOTES"
case "$1 $2" in
"pr list") echo "$GH_OPEN" ;;
"api repos/openclaw/openclaw/releases/latest") echo "$GH_NEWEST" ;;
esac
"""


class World(unittest.TestCase):
    def setUp(self):
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place)
        self.repository = self.place / "repository"
        shutil.copytree(SCRIPTS, self.repository / ".github/scripts", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "openclaw-version.json", self.repository)
        (self.repository / "infra/openclaw").mkdir(parents=True)
        (self.repository / "docs").mkdir()
        self.dockerfile = self.repository / "infra/openclaw/Dockerfile"
        self.dockerfile.write_text(DOCKERFILE)
        (self.place / "bin").mkdir()
        (self.place / "bin/gh").write_text(GH)
        (self.place / "bin/gh").chmod(0o755)
        self.notes = self.place / "notes"
        self.environment = {
            **os.environ, "PATH": f"{self.place / 'bin'}:{os.environ['PATH']}", "GH_NOTES": str(self.notes), "GH_OPEN": "",
            "GH_NEWEST": "v2026.9.6", "PYTHONDONTWRITEBYTECODE": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
            **{f"GIT_{who}_{what}": "test@test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        # The pin that the tests start from, whatever the repository's own is.
        self.run_script("openclaw_version.py", "bump", "2026.9.6")
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("remote", "add", "origin", str(self.place / "origin"))
        self.git("init", "--quiet", "--bare", str(self.place / "origin"))
        self.commit()

    def git(self, *arguments):
        done = subprocess.run(["git", *arguments], cwd=self.repository, env=self.environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "change")
        return self.git("rev-parse", "HEAD")

    def run_script(self, script, *arguments, fails=False):
        command = [sys.executable] if script.endswith(".py") else []
        done = subprocess.run([*command, str(self.repository / ".github/scripts" / script), *arguments], cwd=self.repository,
                              env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(done.returncode != 0, fails, done.stderr)
        return done.stderr if fails else done.stdout

    def version(self, *arguments, fails=False):
        return self.run_script("openclaw_version.py", *arguments, fails=fails)

    def decide(self, *arguments):
        lines = dict(line.split("=") for line in self.run_script("decide.sh", *arguments).splitlines())
        return lines["release"], lines["due"]

    def pinned(self):
        return json.loads((self.repository / "openclaw-version.json").read_text())


class Bumping(World):
    def test_a_bump_changes_the_release_and_the_tags_and_nothing_else(self):
        before = (self.repository / "openclaw-version.json").read_text()
        self.version("bump", "2026.10.1", "2026.10.1-0123456789ab")
        expected = before.replace("openclaw:2026.9.6", "openclaw:2026.10.1").replace("null", '"2026.10.1-0123456789ab"')
        self.assertEqual((self.repository / "openclaw-version.json").read_text(), expected)
        self.assertIn("2026.10.1", expected)
        self.assertEqual(self.dockerfile.read_text(), DOCKERFILE.replace("2026.9.6", "2026.10.1"))

    def test_a_digest_goes_with_the_release_that_it_is_of(self):
        self.dockerfile.write_text(DOCKERFILE.replace("2026.9.6", f"2026.9.6{DIGEST}"))
        self.version("bump", "2026.10.1")
        self.assertEqual(self.dockerfile.read_text(), DOCKERFILE.replace("2026.9.6", "2026.10.1"))

    def test_a_bump_without_a_tag_takes_the_former_tags_away(self):
        self.version("bump", "2026.9.6", "2026.9.6-0123456789ab")
        self.version("bump", "2026.10.1")
        self.assertEqual({environment["tag"] for environment in self.pinned()["environments"].values()}, {None})

    def test_a_placeholder_and_a_tag_of_another_release_are_refused(self):
        before = self.pinned()
        for tag in ("2026.10.1-bootstrap", "bootstrap", "2026.9.6-0123456789ab", "2026.10.1", ""):
            self.assertIn("write 2026.10.1-<commit>", self.version("bump", "2026.10.1", tag, fails=True))
        self.assertIn("RELEASE", self.version("bump", "latest", fails=True))
        self.assertEqual(self.pinned(), before)

    def test_a_tag_names_release_and_commit(self):
        self.assertEqual(self.version("tag", "0123456789abcdef0123456789abcdef01234567").strip(), "2026.9.6-0123456789ab")
        self.assertIn("40 digits", self.version("tag", "0123456", fails=True))


class Deciding(World):
    def build(self):
        """Pins what a build of the newest commit pushes."""
        commit = self.git("rev-parse", "HEAD")
        self.version("bump", "2026.9.6", f"2026.9.6-{commit[:12]}")
        self.commit()

    def test_a_push_builds_what_no_environment_names_yet(self):
        self.assertEqual(self.decide("push"), ("2026.9.6", "true"))
        self.build()
        self.assertEqual(self.decide("push"), ("2026.9.6", "false"))

    def test_a_push_builds_again_when_the_image_is_made_of_something_else(self):
        self.build()
        for before, after in (("RUN true", "RUN false"), ("7.88", "7.89"), ("2026.9.6", f"2026.9.6{DIGEST}")):
            self.dockerfile.write_text(DOCKERFILE.replace(before, after))
            self.commit()
            self.assertEqual(self.decide("push"), ("2026.9.6", "true"), after)
        self.dockerfile.write_text(DOCKERFILE)
        self.commit()
        self.assertEqual(self.decide("push"), ("2026.9.6", "false"))

    def test_the_merge_of_a_proposal_builds_nothing(self):
        commit = self.git("rev-parse", "HEAD")
        self.version("bump", "2026.10.1", f"2026.10.1-{commit[:12]}")
        self.commit()
        self.assertEqual(self.decide("push"), ("2026.10.1", "false"))

    def test_a_commit_that_is_not_known_proves_nothing(self):
        self.version("bump", "2026.9.6", "2026.9.6-0123456789ab")
        self.assertEqual(self.decide("push"), ("2026.9.6", "true"))

    def test_a_schedule_takes_the_newest_release_unless_it_is_older_or_pinned(self):
        self.build()
        for newest, expected in (("v2026.10.1", ("2026.10.1", "true")), ("v2026.9.6", ("2026.9.6", "false")),
                                 ("2026.4.21", ("2026.9.6", "false"))):
            self.environment["GH_NEWEST"] = newest
            self.assertEqual(self.decide("schedule"), expected)

    def test_what_is_proposed_is_not_proposed_again(self):
        self.environment["GH_NEWEST"] = "v2026.10.1"
        self.build()
        (self.place / "report").touch()
        self.run_script("propose.sh", "2026.10.1", f"2026.10.1-{self.git('rev-parse', 'HEAD')[:12]}", str(self.place / "report"))
        self.git("switch", "--quiet", "main")
        self.assertEqual(self.decide("schedule"), ("2026.10.1", "false"))
        self.assertEqual(self.decide("push"), ("2026.9.6", "false"))

    def test_a_release_that_is_asked_for_is_always_due(self):
        self.build()
        self.assertEqual(self.decide("workflow_dispatch", "v2026.9.6"), ("2026.9.6", "true"))
        self.assertIn("no release", self.run_script("decide.sh", "workflow_dispatch", "latest", fails=True))


class Proposing(World):
    def propose(self):
        (self.place / "report").write_text("why")
        (self.repository / "docs").mkdir(exist_ok=True)
        (self.repository / "docs/compatibility.md").write_text("proved\n")
        self.run_script("propose.sh", "2026.10.1", "2026.10.1-0123456789ab", str(self.place / "report"))
        return self.notes.read_text() if self.notes.exists() else ""

    def test_a_proposal_is_one_commit_on_a_branch_with_a_run_of_the_checks(self):
        notes = self.propose()
        self.assertEqual(self.git("diff", "--name-only", "main", "origin/openclaw-version").split(),
                         ["docs/compatibility.md", "infra/openclaw/Dockerfile", "openclaw-version.json"])
        self.assertIn("pr create --head openclaw-version --title Pin OpenClaw 2026.10.1 as 2026.10.1-0123456789ab", notes)
        self.assertIn("workflow run ci.yml --ref openclaw-version", notes)

    def test_a_later_proposal_replaces_the_open_one(self):
        self.propose()
        self.git("switch", "--quiet", "main")
        self.environment["GH_OPEN"] = "7"
        self.assertIn("pr edit 7", self.propose())
        self.assertEqual(self.git("rev-list", "--count", "main..origin/openclaw-version"), "1")

    def test_nothing_is_proposed_when_it_is_pinned_already(self):
        self.version("bump", "2026.10.1", "2026.10.1-0123456789ab")
        (self.repository / "docs/compatibility.md").write_text("proved\n")
        self.commit()
        self.assertEqual(self.propose(), "")


class Releasing(World):
    def setUp(self):
        super().setUp()
        self.write(version="0.2.0", locked="0.2.0", changelog="## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n- It.\n")

    def write(self, version=None, locked=None, changelog=None):
        if version:
            (self.repository / "Cargo.toml").write_text(f'[package]\nname = "openclaw-provisioner"\nversion = "{version}"\n')
        if locked:
            (self.repository / "Cargo.lock").write_text(f'[[package]]\nname = "openclaw-provisioner"\nversion = "{locked}"\n')
        if changelog:
            (self.repository / "CHANGELOG.md").write_text(f"# Changelog\n\n{changelog}\n## [0.1.0] - 2026-11-01\n\n- First.\n")

    def test_the_notes_are_the_section_of_the_tag(self):
        self.assertEqual(self.run_script("release.py", "notes", "v0.2.0").strip(), "### Added\n- It.")

    def test_what_does_not_agree_is_named(self):
        refused = lambda tag="v0.2.0": self.run_script("release.py", "notes", tag, fails=True)
        self.assertIn("TAG", refused("0.2.0"))
        self.assertIn("Cargo.toml", refused("v0.3.0"))
        self.write(locked="0.1.0")
        self.assertIn("Cargo.lock", refused())
        self.write(locked="0.2.0", changelog="## [Unreleased]\n\n- Left.\n\n## [0.2.0] - 2026-12-01\n\n- It.\n")
        self.assertIn("[Unreleased]", refused())
        self.write(changelog="## [Unreleased]\n")
        self.assertIn("CHANGELOG.md: has 0 sections for 0.2.0", refused())

    def test_the_repository_itself_has_a_version_and_a_changelog_in_that_format(self):
        for name in ("Cargo.toml", "Cargo.lock", "CHANGELOG.md"):
            shutil.copy(ROOT / name, self.repository)
        version = self.run_script("release.py", "version").strip()
        self.assertRegex(version, r"^\d+\.\d+\.\d+$")
        self.assertRegex((ROOT / "CHANGELOG.md").read_text(), r"(?m)^## \[(Unreleased|" + version.replace(".", r"\.") + r")\]")


@unittest.skipUnless(os.environ.get("PROVISIONER_BINARY"), "needs PROVISIONER_BINARY")
class Packing(unittest.TestCase):
    def test_a_package_has_the_binary_its_pages_and_the_licences_and_is_the_same_each_time(self):
        place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, place)
        # In its place, because a debug build takes long to pack.
        binary = place / "binary"
        binary.write_text(f'#!/bin/sh\nexec "{os.environ["PROVISIONER_BINARY"]}" "$@"\n')
        binary.chmod(0o755)
        for directory in ("one", "two"):
            subprocess.run([str(SCRIPTS / "package.sh"), str(binary), "provisioner-1", str(place / directory)], check=True,
                           stdin=subprocess.DEVNULL)
        one, two = (place / directory / "provisioner-1.tar.gz" for directory in ("one", "two"))
        self.assertEqual(one.read_bytes(), two.read_bytes())
        files = subprocess.run(["tar", "-tzf", str(one)], check=True, capture_output=True, text=True).stdout.split()
        for file in ("openclaw-provisioner", "LICENSE-MIT", "docs/api.md", "man/openclaw-provisioner.1", "completions/openclaw-provisioner.zsh"):
            self.assertIn(f"provisioner-1/{file}", files)


if __name__ == "__main__":
    unittest.main()
