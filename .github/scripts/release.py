#!/usr/bin/env python3
"""What the release workflow asks of the repository.

    release.py version            the version in Cargo.toml
    release.py notes TAG          the changelog's section for TAG (vX.Y.Z), once tag, Cargo.toml, Cargo.lock and
                                  CHANGELOG.md agree and nothing is left under "Unreleased"
"""

import re
import sys
import tomllib
from pathlib import Path

NAME = "openclaw-provisioner"


class Refused(Exception):
    """Says what is wrong, and what to write."""


def version():
    return tomllib.loads(Path("Cargo.toml").read_text())["package"]["version"]


def sections():
    """Text by heading (`[0.1.0] - 2026-11-21`) of CHANGELOG.md, which is in the format of Keep a Changelog."""
    parts = re.split(r"^## (.*)$", Path("CHANGELOG.md").read_text(), flags=re.MULTILINE)
    return {heading.strip(): text.strip() for heading, text in zip(parts[1::2], parts[2::2])}


def notes(tag):
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        raise Refused(f"TAG: {tag!r} is no release; tag it like v0.1.0")
    wanted = tag[1:]
    if version() != wanted:
        raise Refused(f"Cargo.toml: version is {version()}; write {wanted}, or tag v{version()}")
    locked = [package["version"] for package in tomllib.loads(Path("Cargo.lock").read_text())["package"]
              if package["name"] == NAME]
    if locked != [wanted]:
        raise Refused(f"Cargo.lock: {NAME} is {', '.join(locked)}; run `cargo update --workspace` and commit it")
    found = sections()
    if found.get("[Unreleased]"):
        raise Refused(f"CHANGELOG.md: something is under [Unreleased]; move it to ## [{wanted}] - YYYY-MM-DD")
    dated = [text for heading, text in found.items() if re.fullmatch(rf"\[{re.escape(wanted)}\] - \d{{4}}-\d\d-\d\d", heading)]
    if len(dated) != 1 or not dated[0]:
        raise Refused(f"CHANGELOG.md: has {len(dated)} sections for {wanted}; write one, ## [{wanted}] - YYYY-MM-DD")
    return dated[0]


def main(arguments):
    match arguments:
        case ["version"]:
            print(version())
        case ["notes", tag]:
            print(notes(tag))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as refused:
        sys.exit(f"error: {refused}")
