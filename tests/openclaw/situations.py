"""Situations that people are in, each proved by itself on a release: the second table.

A situation is a function over a `Proof` (its helpers, not its scenario) that returns one `Finding`; `SITUATIONS` says what each
proves, and `situation(name)` registers the function. A situation without a function has no cell yet.
"""

import shlex
from typing import Callable

import signin
from checks import Proof
from container import Container
from findings import Finding, no, yes
from turns import refreshes

SITUATIONS = {
    "two_accounts": "a user with two ChatGPT accounts keeps both, and each call is about its own",
    "id_unlike_claim": "a sign-in whose written account id is not its token's claim is recognized after a refresh",
    "team_mates": "two members of one workspace, who share its account id, are told apart",
    "cooldown": "a new sign-in is used although the one before was cooling down",
    "mount_at_data": "the user's directory is mounted at /data and at /state: staged, one turn, another container, exactly one "
                     "rotation of a sign-in that is over; and nothing is left in the home",
    "tailscale": "an `openclaw.json` with `gateway.tailscale.mode` starts after our entries were merged in",
    "other_port": "by `--port`, and by `OPENCLAW_GATEWAY_PORT`: the gateway listens where `GET …/gateway` says, not on 18789, and "
                  "answers a turn",
    "default_agent_not_main": "the agent that answers is not `main`, and is signed in",
}
Situation = Callable[[Proof], Finding]
HOW: dict[str, Situation] = {}


def situation(name: str) -> Callable[[Situation], Situation]:
    assert name in SITUATIONS

    def register(how: Situation) -> Situation:
        HOW[name] = how
        return how

    return register


@situation("mount_at_data")
def mount_at_data(proof: Proof) -> Finding:
    ways = []
    for index, path in enumerate(("/data", "/state")):
        proof.provisioner.rebase(lambda _, container: container["mountPoints"][0].update(containerPath=path))
        for name, auth in ((f"ann{index}", signin.fresh(f"ann{index}")), (f"ben{index}", signin.expired(f"ben{index}"))):
            definition, directory = proof.provision(name, auth)
            staged = proof.staged(definition, directory, name)
            if not staged:
                return no(f"{path}: {staged.note}")
            for round in ("first", "second"):
                before = len(proof.world.lines())
                with Container(proof.world, definition, directory, proof.log) as container:
                    if not proof.gateway(container):
                        return no(f"{path}, {name}, {round} container: {proof.why_no_gateway}")
                    turn = proof.turn(container)
                    # The import may refresh an expired token before the turn.
                    granted, refused = refreshes(proof.world.lines()[before:])
                    bearer, due = expected(name, round)
                    # A refreshed token is named after all rotations so far.
                    bearer = f"{name}.r{proof.rotations()}" if bearer is None else bearer
                    if not turn.proves(bearer) or granted != due or refused:
                        return no(f"{path}, {name}, {round} container: {turn.story()}; in all {len(granted)} rotations, "
                                  f"{len(refused)} refused")
                    left = container.run(["sh", "-c", "find /home/node -type f | head -5"]).out.split()
                    left = [place for place in left if "/.openclaw" in place]
                    if left:
                        return no(f"{path}: the home keeps {', '.join(left)}")
                    container.stop_gateway()
            ways.append(turn.way.split(",")[0])
    return yes(", ".join(dict.fromkeys(ways)))


def expected(name: str, round: str) -> tuple[str | None, list[str]]:
    if name.startswith("ann"):
        return name, []
    return None, [name] if round == "first" else []


@situation("other_port")
def other_port(proof: Proof) -> Finding:
    by_argument = ["node", "openclaw.mjs", "gateway", "--allow-unconfigured", "--port", "8080"]
    changes = {
        8080: lambda _, container: container.update(command=by_argument),
        3000: lambda _, container: container["environment"].append({"name": "OPENCLAW_GATEWAY_PORT", "value": "3000"}),
    }
    for port, change in changes.items():
        # Undo the previous change of the base first.
        proof.provisioner.rebase(lambda _, container: container.pop("command", None))
        proof.provisioner.rebase(change)
        user = f"ann{port}"
        definition, directory = proof.provision(user, signin.fresh(user))
        told = proof.provisioner.gateway(user).get("port")
        if told != port:
            return no(f"GET …/gateway says {told}, not {port}")
        with Container(proof.world, definition, directory, proof.log, port) as container:
            if not proof.gateway(container):
                return no(f"{port}: {proof.why_no_gateway}")
            listens = container.run(["sh", "-c", f"{shlex.quote('node')} -e \"require('net').connect(18789,'127.0.0.1')"
                                     ".on('connect',()=>process.exit(1)).on('error',()=>process.exit(0))\""])
            if listens.code != 0:
                return no(f"{port}: something listens on 18789, too")
            turn = proof.turn(container)
            if not turn.proves(user):
                return no(f"{port}: {turn.story()}")
            container.stop_gateway()
    return yes()
