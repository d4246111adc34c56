"""Checks whether a hostile tenant gets the task role's credentials, in a container that drops its rights; `hostile.py` is the tenant."""

import json
import os
import subprocess
import time
from pathlib import Path

from container import PYTHON, Container, Definition, World
from findings import Finding, no, yes

HOSTILE = (Path(__file__).parent / "hostile.py").read_text()
CHECKS = 15


def proved(container: Container) -> Finding:
    """Tries every way beside a running gateway, then again during health checks; checks that the program can find the credentials."""
    said = told(container.run([PYTHON, "-c", HOSTILE]).out)
    if missed := problems(said):
        return no(missed)
    watched = while_checked(container)
    if missed := problems(watched):
        return no(f"while health checks ran: {missed}")
    # The same container and user without the drop: if the program finds nothing there, its result here proves nothing.
    control = told(container.run([PYTHON, "-c", HOSTILE], user=f"{container.definition.agent}:{container.definition.agent}").out)
    blind = [way for way in ("own_environment", "environment_of_others") if way not in control["found"]]
    if blind:
        return no(f"the hostile program is blind: without the drop it did not find {', '.join(blind)}")
    return yes(f"{len(said['tried'])} ways, {watched['tried'][-1]} watched")


def while_checked(container: Container) -> dict:
    """What a program of the agent sees of the health checks that the runtime starts as root."""
    before = container.definition.entry_point
    watcher = container.start([*before, PYTHON, "-c", HOSTILE, "watch", "30"], stdout=subprocess.PIPE, text=True)
    watcher.stdout.readline()
    checks = [container.start(container.definition.health_check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
              for _ in range(CHECKS) if not time.sleep(0.2)]
    ended = [check.wait(60) for check in checks]
    # A release that answers its health path with an error fails the check with its own code; env and setpriv fail with 125 or more.
    is_healthy = container.await_gateway(60).get("healthz") == "200"
    failed = [code for code in ended if code >= 125 or (code != 0 and is_healthy)]
    out, _ = watcher.communicate(timeout=120)
    seen = told(out)
    if not any(word.endswith(" processes") and int(word.split()[0]) >= CHECKS // 2 for word in seen["tried"]):
        seen["wrong"].append(f"the watcher saw too little: {seen['tried']}")
    if failed:
        seen["wrong"].append(f"health checks failed with {sorted(set(failed))}")
    return seen


def of_own_files(world: World, definition: Definition, directory: Path, log: Path, before: Finding) -> Finding:
    """Starts the container again, with the tenant's own entry script and import: they must run as the agent, too."""
    scripts = [path for path in (directory / ".provisioner/entry.sh", directory / ".provisioner/import.mjs") if path.exists()]
    if not definition.has_entry_script:
        return before
    kept = {path: path.read_bytes() for path in scripts}
    result = directory / "hostile.json"
    try:
        (directory / "hostile.py").write_text(HOSTILE)
        path = f"{definition.mount_path}/hostile.py"
        (directory / ".provisioner/entry.sh").write_text(f"#!/bin/sh\n{PYTHON} {path} >{definition.mount_path}/hostile.json\n")
        os.chown(directory / "hostile.py", definition.agent, definition.agent)
        with Container(world, definition, directory, log) as container:
            container.start_gateway()
            try:
                container.gateway.wait(120)
            except subprocess.TimeoutExpired:
                return no("the tenant's own entry script has not ended")
        said = told(result.read_text() if result.exists() else "")
        return no(f"in the tenant's own entry script: {missed}") if (missed := problems(said)) else yes(f"{before.note}; own entry script")
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
        for name in ("hostile.py", "hostile.json"):
            (directory / name).unlink(missing_ok=True)


def told(out: str) -> dict:
    lines = [line for line in out.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {"found": {}, "tried": [], "rights": {}, "wrong": [f"it said nothing: {out[-200:]!r}"]}


def problems(said: dict) -> str:
    found = [f"{way}: {where}" for way, where in said["found"].items()]
    return "; ".join(found + [f"has {right} {said['rights'].get(right, '')}" for right in said["wrong"]])
