"""One agent turn in a container, and the requests that the stand-in saw."""

import json
import re
import uuid
from dataclasses import dataclass

from container import Container
from provisioner import Provisioner
from standin import ANSWER

CONNECTION_TRIES = 5
# The CLI's message if its connection ended before it could ask.
NO_CONNECTION = re.compile(r"gateway connect failed|gateway closed \(|handshake.timeout", re.I)
# The CLI's message if it refuses to run beside a gateway.
ALONE = re.compile(r"gateway is running for this state directory", re.I)


@dataclass
class Turn:
    answered: bool
    bearers: list[str]
    granted: list[str]
    refused: list[str]
    way: str
    seconds: float
    words: str

    def proves(self, bearer: str) -> bool:
        return self.answered and self.bearers[-1:] == [bearer]

    def story(self) -> str:
        parts = [f"answered with the token of `{self.bearers[-1]}`" if self.answered and self.bearers
                 else "not answered" if self.bearers else "not answered, and no request reached the model's API"]
        if self.granted:
            parts.append(f"refreshed {', '.join(self.granted)}")
        if self.refused:
            parts.append(f"REFUSED a refresh with {', '.join(self.refused)}")
        if not self.answered and self.words:
            parts.append(self.words)
        return "; ".join(parts)


def take_turn(container: Container, provisioner: Provisioner, remarks: list[str], agent: str = "main") -> Turn:
    """Takes one agent turn through the gateway; if the gateway accepts none, in a process beside it."""
    before = len(container.world.lines())
    command = through_gateway(container, provisioner, agent)
    way, ran = "through the gateway", container.openclaw(*command, timeout=container.world.patience + 30)
    for _ in range(CONNECTION_TRIES - 1):
        if not NO_CONNECTION.search(ran.err + ran.out) or asked(container, before):
            break
        remarks.append("the gateway listened, but took more than one connection until it answered")
        ran = container.openclaw(*command, timeout=container.world.patience + 30)
    if not asked(container, before):
        remarks.append(f"a turn through the gateway did not reach the API: {ran.last_words(200)}")
        beside = container.openclaw("agent", "--local", "--agent", agent, "--message", f"say {ANSWER}", "--json",
                                    "--timeout", str(container.world.patience), timeout=container.world.patience + 30)
        # 2026.9 refuses to run beside a gateway: then the gateway's message is the reason for the missing turn.
        if not ALONE.search(beside.err + beside.out):
            way, ran = "beside the gateway, by `agent --local`", beside
    lines = asked(container, before)
    turns = [line for line in lines if line["kind"] == "turn"]
    said = ANSWER in ran.out.replace(f"say {ANSWER}", "")
    granted, refused = refreshes(lines)
    return Turn(
        answered=ran.code == 0 and said and any(line["answered"] for line in turns),
        bearers=[line["bearer"] for line in turns], granted=granted, refused=refused,
        way=f"{way}, {ran.seconds:.0f} s", seconds=round(ran.seconds, 1), words=ran.last_words(),
    )


def through_gateway(container: Container, provisioner: Provisioner, agent: str = "main") -> list[str]:
    parameters = {"message": f"say {ANSWER}", "agentId": agent, "idempotencyKey": str(uuid.uuid4())}
    # The way a web backend asks for it.
    token = provisioner.gateway_token(container.directory.name)
    return ["gateway", "call", "agent", "--expect-final", "--json", "--timeout", str(container.world.patience * 1000),
            "--params", json.dumps(parameters), "--token", token]


def asked(container: Container, since: int) -> list[dict]:
    """The requests in the stand-in's journal from that line on."""
    return [line for line in container.world.lines()[since:] if line["kind"] in ("turn", "refresh")]


def refreshes(lines: list[dict]) -> tuple[list[str], list[str]]:
    """The names of the refresh tokens that were exchanged, and that were refused."""
    asked_for = [line for line in lines if line["kind"] == "refresh"]
    return ([line["refresh"] for line in asked_for if line["granted"]],
            [line["refresh"] for line in asked_for if not line["granted"]])
