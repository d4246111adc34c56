#!/usr/bin/env python3
"""What the workflows ask of openclaw-version.json, and the one change that they make to it.

    openclaw_version.py release              the pinned release, such as 2026.9.6
    openclaw_version.py repository           the repository of the extended image
    openclaw_version.py tag COMMIT           the extended image's tag when it is built from COMMIT: <release>-<commit>
    openclaw_version.py decide EVENT [--given RELEASE] [--newest RELEASE] [--proposal FILE]
                                             what to pin next, as lines for GITHUB_OUTPUT: release=…, due=true or false.
                                             FILE is the openclaw-version.json of a proposal that nobody has merged yet
    openclaw_version.py bump RELEASE [TAG]   pins RELEASE here and in the image's Dockerfile; all environments get TAG, or
                                             null without one

Whether the file is valid is judged by `openclaw-provisioner doctor --offline` and not here.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

FILE = Path("openclaw-version.json")
IMAGE = Path("infra/openclaw")
RELEASE = re.compile(r"20\d\d\.\d{1,2}\.\d{1,3}")
COMMIT = re.compile(r"[0-9a-f]{40}")
# A default that is a release, with or without a registry: what `bump` writes into a Dockerfile.
PINNED_LINE = r"^ARG [A-Za-z_]+=([^ ]*:)?20[0-9]{2}\.[0-9]{1,2}\.[0-9]{1,3}$"
# As long as a human compares, and longer than git would need to tell commits apart.
COMMIT_LENGTH = 12


class Refused(Exception):
    """Says what is wrong, and what to write."""


def load(path=FILE):
    return json.loads(path.read_text())


def release(versions):
    """The release in upstream's tag."""
    return versions["upstream"].rpartition(":")[2].split("@")[0].removeprefix("v")


def tag(versions, commit):
    if not COMMIT.fullmatch(commit):
        raise Refused(f"COMMIT: {commit!r} is no commit; write all 40 digits of it")
    return f"{release(versions)}-{commit[:COMMIT_LENGTH]}"


def tags(versions):
    return {environment["tag"] for environment in versions["environments"].values()} - {None}


def decide(event, given=None, newest=None, pinned=None, proposal=None):
    """Which release is to be pinned, and whether an image of it has to be built and proposed for that.

    A push asks about the pinned release, a schedule about the newest one unless that is older, and a person about the
    one that is given, which is always due: what it is built from may have changed outside of this repository.
    """
    if given:
        return without_v(given), True
    current = release(pinned)
    wanted = current if event == "push" else max(current, without_v(newest or current), key=order)
    built = {tag for known in (pinned, proposal) if known for tag in tags(known) if tag.startswith(f"{wanted}-")}
    return wanted, not any(unchanged_since(tag.rpartition("-")[2]) for tag in built)


def without_v(name):
    found = name.removeprefix("v")
    if not RELEASE.fullmatch(found):
        raise Refused(f"RELEASE: {name!r} is no release; write it like 2026.9.6")
    return found


def order(found):
    return [int(part) for part in found.split(".")]


def unchanged_since(commit):
    """Whether infra/openclaw is now what it was. The release in it does not count: it changes with openclaw-version.json,
    in the very commit that names the image."""
    changes = subprocess.run(["git", "diff", "-I", PINNED_LINE, f"{commit}^{{commit}}", "--", str(IMAGE)],
                             capture_output=True, text=True, check=False)
    # A commit that is not there (a shallow clone, a tag made by hand) proves nothing.
    return changes.returncode == 0 and not changes.stdout


def bump(wanted, built):
    """Changes the files in place, and nothing in them but the release and the tags."""
    wanted = without_v(wanted)
    if built is not None and not re.fullmatch(rf"{re.escape(wanted)}-[0-9a-f]{{7,40}}", built):
        raise Refused(f"TAG: {built!r} is not what a build of {wanted} pushes; write {wanted}-<commit>")
    text, before = FILE.read_text(), load()
    pinned = release(before)
    upstream = before["upstream"].split("@")[0].removesuffix(pinned) + wanted
    text = text.replace(json.dumps(before["upstream"]), json.dumps(upstream), 1)
    text = re.sub(r'("tag":\s*)(?:null|"[^"]*")', lambda found: found[1] + json.dumps(built), text)
    after = {**before, "upstream": upstream, "environments": {name: {"tag": built} for name in before["environments"]}}
    if json.loads(text) != after:
        raise Refused(f"{FILE}: it is not laid out as expected; pin {wanted} and {built} by hand")
    for path in IMAGE.rglob("Dockerfile*"):
        # The default of an argument, with or without a registry; a digest names the former release's content.
        path.write_text(re.sub(rf"^(ARG \w+=\"?(?:\S*:)?){re.escape(pinned)}(?:@sha256:[0-9a-f]{{64}})?(?=\"?$)",
                               rf"\g<1>{wanted}", path.read_text(), flags=re.MULTILINE))
    FILE.write_text(text)


def main(arguments):
    match arguments:
        case ["release"]:
            print(release(load()))
        case ["repository"]:
            print(load()["extendedImage"])
        case ["tag", commit]:
            print(tag(load(), commit))
        case ["decide", event, *options]:
            parser = argparse.ArgumentParser("decide")
            for option in ("--given", "--newest", "--proposal"):
                parser.add_argument(option, default="")
            given = parser.parse_args(options)
            proposal = load(Path(given.proposal)) if given.proposal else None
            wanted, due = decide(event, given.given, given.newest, load(), proposal)
            print(f"release={wanted}\ndue={json.dumps(due)}")
        case ["bump", wanted, *built] if len(built) < 2:
            bump(wanted, built[0] if built else None)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as refused:
        sys.exit(f"error: {refused}")
