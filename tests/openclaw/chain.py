"""One user's directory from release to release, by the image that `redeploy` pins: signed in at every step?

The provisioned sign-in has an expired access token, so the first release has to rotate it, and all others use the result.
If the service says that a release cannot have the sign-in, the harness sends a new one, as a caller would, and the step
says so.
"""

from dataclasses import replace
from pathlib import Path
from typing import Iterator

import signin
from checks import SECRET_ARN
from container import Container, World
from provisioner import Provisioner
from turns import take_turn

USER = "dora"


def steps(releases: list[tuple[str, Path]], world: World, provisioner: Provisioner, log: Path) -> Iterator[dict]:
    """`{"release", "signed_in": "yes" | "anew" | "no", "note"}` for each release and its node_modules."""
    name = USER
    provisioner.provision(USER, signin.expired(USER), {"OPENCLAW_AUTH_PROFILE_SECRET_KEY": SECRET_ARN})
    for at, (release, modules) in enumerate(releases):
        status = 0
        if at > 0:
            status, _ = provisioner.call("POST", f"/containers/{USER}/redeploy", {"image": f"ghcr.io/openclaw/openclaw:{release}"})
        said, fresh = "", f"{USER}{at}"
        known = provisioner.call("GET", f"/containers/{USER}/credentials")[1]
        if known["reauth_required"]:
            said = f"reauth_required: {'; '.join(warning['message'] for warning in known['warnings'])} "
            provisioner.provision(USER, signin.fresh(fresh, age_seconds=0))
            name = fresh
        container = provisioner.await_running(USER)
        definition = provisioner.definition(container["task_definition"])
        remarks: list[str] = []
        if not definition.image.endswith(f":{release}"):
            yield {"release": release, "signed_in": "no", "note": f"redeploy answered {status}, image {definition.image}"}
            continue
        with Container(replace(world, modules=modules), definition, provisioner.user_directory(USER), log) as running:
            running.start_gateway()
            state = running.await_gateway(world.patience)
            turn = take_turn(running, provisioner, remarks) if "seconds" in state else None
            running.stop_gateway()
        if turn is None:
            words = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
            yield {"release": release, "signed_in": "no",
                   "note": f"{said}the gateway did not come up, {state}: {' / '.join(words[-6:])[-400:]}"}
            continue
        if turn.granted == [name]:
            name = turn.bearers[-1] if turn.bearers else name
        good = turn.proves(name) and not turn.refused
        word = "no" if not good else "anew" if said else "yes"
        yield {"release": release, "signed_in": word, "note": said + turn.story()}
