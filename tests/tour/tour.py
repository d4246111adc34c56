"""Runs the commands of README.md's tour and compares what they print; see run.sh."""

import argparse
import os
import pathlib
import re
import subprocess
import sys

FENCE = "```"
# Before the output of each block; no command prints it.
MARK = "\x1e"


def blocks(text):
    """The blocks of commands below "The tour", each with the output that is shown for it, or None."""
    tour = text.split("\n## The tour\n", 1)[1].split("\n## ", 1)[0]
    found = []
    for number, part in enumerate(tour.split(f"\n{FENCE}")):
        if number % 2 == 0:
            continue
        language, content = part.split("\n", 1)
        if language == "sh":
            found.append([content, None])
        elif language == "":
            if not found or found[-1][1] is not None:
                raise SystemExit(f"output without commands before it: {content[:60]}")
            found[-1][1] = content
        else:
            raise SystemExit(f"a block of {language} in the tour")
    return found


def script(commands, options):
    """One session of a shell for all blocks, like a reader's."""
    def address(url):
        return url.removeprefix("http://")

    # The reader's `cargo run` builds; here the binary is already built.
    parts = ['cargo() { [ "$1 $2 $3" = "run -q --" ] || { echo "cargo $*: not in the tour" >&2; return 1; }; shift 3; "$BINARY" "$@"; }']
    for text in commands:
        text = text.replace("127.0.0.1:8080", address(options.api)).replace("127.0.0.1:4566", address(options.emulator))
        parts += [f"printf '%s' '{MARK}'", text]
    return "\n".join(parts) + "\n"


def pattern(shown):
    """A pattern of the shown output, without white space; an ellipsis matches anything."""
    bare = re.sub(r"\s", "", shown)
    return re.compile(".*?".join(re.escape(part) for part in bare.split("…")), re.DOTALL)


def main():
    parser = argparse.ArgumentParser()
    for name in ("readme", "binary", "tools", "api", "emulator", "work"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    found = blocks(pathlib.Path(options.readme).read_text(encoding="utf-8"))
    environment = {
        "PATH": f"{options.tools}:{os.environ['PATH']}",
        "HOME": options.work,
        "BINARY": options.binary,
        # Ignore this machine's own AWS settings.
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    done = subprocess.run(["bash", "-eu", "-c", script([commands for commands, _ in found], options)], cwd=options.work,
                          env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=300, check=False)
    printed = done.stdout.split(MARK)[1:]
    failed = 0
    for (commands, shown), output in zip(found, printed, strict=False):
        first = commands.strip().split("\n")[0]
        if shown is None or pattern(shown).fullmatch(re.sub(r"\s", "", output)):
            print(f"ok    {first}")
        else:
            failed += 1
            print(f"FAIL  {first}\n--- README.md shows\n{shown}\n--- printed\n{output}")
    if done.returncode != 0:
        failed += 1
        print(f"FAIL  ended with {done.returncode} in block {len(printed)} of {len(found)}:\n{printed[-1] if printed else done.stdout}")
    print(f"{len(found)} blocks of commands, {failed} failed")
    return 1 if failed or len(found) < 5 or sum(shown is not None for _, shown in found) < 4 else 0


if __name__ == "__main__":
    sys.exit(main())
