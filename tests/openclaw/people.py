"""Situations of people's sign-ins and configurations: several accounts, a team, a cooldown, tailscale, another agent.

The harness changes the user's directory as a user would in the container: a second account signed in, a profile that failed,
an `openclaw.json` of their own. Everything else comes from the real provisioner.
"""

import json
import os
import sqlite3
from pathlib import Path

import signin
from checks import Proof
from container import Container, Definition
from findings import Finding, no, yes
from situations import situation
from turns import Turn, refreshes, take_turn

PROFILES = "agents/main/agent/auth-profiles.json"
STATE = "agents/main/agent/auth-state.json"
FAR = 4102444800000
# Where releases with a store keep profiles and their failures: file; table, key column and key of each; and the columns of
# a failure's value and time.
STATES = [
    ("agents/main/agent/openclaw-agent.sqlite", ("auth_profile_store", "store_key", "primary"),
     ("auth_profile_state", "state_key", "primary"), "state_json", "updated_at"),
    ("state/openclaw.sqlite", ("config_machine_state", "state_key", "authProfiles.store"),
     ("config_machine_state", "state_key", "authProfiles.state"), "value_json", "updated_at_ms"),
]


class Missed(Exception):
    """Why a situation is not proved."""


def proved(how):
    def run(proof: Proof) -> Finding:
        try:
            return yes(how(proof) or "")
        except Missed as why:
            return no(str(why))

    return run


def provider(proof: Proof) -> str:
    return "openai-codex" if proof.number < (2026, 6, 0) else "openai"


def write(directory: Path, definition: Definition, path: str, content: object) -> None:
    """Writes a file as the container's user would."""
    uid = gid = definition.agent
    place = directory / path
    for parent in reversed([parent for parent in place.parents if not parent.exists()]):
        parent.mkdir(mode=0o700)
        os.chown(parent, uid, gid)
    place.write_text(content if isinstance(content, str) else json.dumps(content))
    os.chown(place, uid, gid)
    place.chmod(0o600)


def merge(directory: Path, definition: Definition, path: str, change: dict) -> None:
    place = directory / path
    write(directory, definition, path, (json.loads(place.read_text()) if place.exists() else {"version": 1}) | change)


def holders(directory: Path, name: str) -> list[str]:
    """The files with exactly this refresh token."""
    token = signin.refresh_token(name).encode()
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and not path.is_symlink()]
    found = [path for path in files if any(rest[:1] not in (b".",) and not rest[:1].isalnum()
                                           for rest in path.read_bytes().split(token)[1:])]
    return [str(path.relative_to(directory)) for path in found]


def again(proof: Proof, user: str, auth: dict, outcome: str) -> dict:
    status, answer = proof.provisioner.provision(user, auth)
    if status >= 300 or answer.get("credentials") != outcome:
        raise Missed(f"provisioned again: {status} {answer.get('credentials')} {answer.get('credentials_reason')} "
                     f"{answer.get('detail') or ''}, not {outcome}")
    return answer


def turn(proof: Proof, definition: Definition, directory: Path, agent: str = "main") -> Turn:
    with Container(proof.world, definition, directory, proof.log) as container:
        if not proof.gateway(container):
            raise Missed(proof.why_no_gateway)
        took = take_turn(container, proof.provisioner, proof.report.remarks, agent)
        container.stop_gateway()
    if not took.answered or took.refused:
        raise Missed(took.story())
    return took


def must_hold(directory: Path, *names: str) -> None:
    for name in names:
        if not holders(directory, name):
            raise Missed(f"the refresh token of {name} is nowhere")


@situation("two_accounts")
@proved
def two_accounts(proof: Proof) -> str:
    auth = signin.fresh("ann")
    definition, directory = proof.provision("ann", auth)
    before = json.loads((directory / PROFILES).read_text())["profiles"] if (directory / PROFILES).exists() else {}
    second = {f"{provider(proof)}:other": signin.profile("otto", provider(proof))}
    merge(directory, definition, PROFILES, {"profiles": before | second})
    answer = again(proof, "ann", auth, "kept_fresher")
    definition = proof.definition_of(answer)
    took = turn(proof, definition, directory)
    must_hold(directory, *([] if encrypted(proof) else ["otto"]))
    newer = again(proof, "ann", signin.fresh("anna", age_seconds=0), "written")
    took = turn(proof, proof.definition_of(newer), directory)
    if took.bearers[-1] not in ("anna", "otto"):
        raise Missed(took.story())
    must_hold(directory, *([] if encrypted(proof) else ["anna", "otto"]))
    # Now a sign-in of the other account that is older than the stored one.
    answer = again(proof, "ann", signin.fresh("otto", age_seconds=4000), "kept_fresher" if not in_store(proof) else "written")
    took = turn(proof, proof.definition_of(answer), directory)
    must_hold(directory, *([] if encrypted(proof) else ["anna"]))
    return f"then answered with the token of {took.bearers[-1]}"


def encrypted(proof: Proof) -> bool:
    """2026.5.12 keeps no token in the clear."""
    return (2026, 5, 12) <= proof.number < (2026, 5, 18)


def in_store(proof: Proof) -> bool:
    return proof.number >= (2026, 6, 5)


@situation("id_unlike_claim")
@proved
def id_unlike_claim(proof: Proof) -> str:
    auth = signin.expired("ben")
    auth["tokens"]["account_id"] = "acc_written"
    status, answer = proof.provisioner.provision("ben", auth)
    codes = [warning["code"] for warning in answer.get("warnings", [])]
    if "account_id_not_in_token" not in codes:
        raise Missed(f"{status}, warnings {codes}")
    if "auth_profile_secret_key_missing" in codes:
        from checks import SECRET_ARN
        proof.provisioner.provision("ben", auth, {"OPENCLAW_AUTH_PROFILE_SECRET_KEY": SECRET_ARN})
    proof.provisioner.await_running("ben")
    definition = proof.definition_of(proof.provisioner.call("GET", "/containers/ben")[1])
    directory = proof.provisioner.user_directory("ben")
    before = len(proof.world.lines())
    first = turn(proof, definition, directory)
    # An import may refresh an expired token before the turn.
    granted, refused = refreshes(proof.world.lines()[before:])
    if granted != ["ben"] or refused or first.bearers[-1] != "ben.r1":
        raise Missed(f"first turn: {first.story()}; in all {len(granted)} rotations, {len(refused)} refused")
    answer = again(proof, "ben", auth, "kept_fresher")
    before = len(proof.world.lines())
    second = turn(proof, proof.definition_of(answer), directory)
    granted, refused = refreshes(proof.world.lines()[before:])
    if granted or refused or second.bearers[-1] != first.bearers[-1]:
        raise Missed(f"second turn: {second.story()}; in all {len(granted)} rotations, {len(refused)} refused")
    return str(answer.get("credentials_reason"))


@situation("team_mates")
@proved
def team_mates(proof: Proof) -> str:
    definition, directory = proof.provision("team", signin.fresh("tea", age_seconds=60))
    first = turn(proof, definition, directory)
    if first.bearers[-1] != "tea":
        raise Missed(first.story())
    answer = again(proof, "team", signin.fresh("tom", age_seconds=4000), "written")
    if answer.get("credentials_reason") != "other_account":
        raise Missed(str(answer.get("credentials_reason")))
    second = turn(proof, proof.definition_of(answer), directory)
    if second.bearers[-1] != "tom":
        raise Missed(second.story())
    must_hold(directory, *([] if encrypted(proof) else ["tea"]))
    return f"the other one in {', '.join(holders(directory, 'tea')) or 'no file in the clear'}"


@situation("cooldown")
@proved
def cooldown(proof: Proof) -> str:
    definition, directory = proof.provision("ann", signin.fresh("ann"))
    turn(proof, definition, directory)
    failed = {"errorCount": 4, "cooldownUntil": FAR, "disabledUntil": FAR, "disabledReason": "auth_permanent"}
    # A store that has an entry with the name from before 2026.6 accepts no import at all; no release writes one there.
    ids = ["openai:default"] if in_store(proof) else ["openai-codex:default", "openai:default"]
    usage = {"usageStats": {id: failed for id in ids}}
    if in_store(proof):
        marked = sum(mark(directory / file, *rest, usage) for file, *rest in STATES)
        if not marked:
            raise Missed("no store was found to note the failure in")
    else:
        if (directory / PROFILES).exists():
            merge(directory, definition, PROFILES, usage)
        merge(directory, definition, STATE, usage)
    answer = again(proof, "ann", signin.fresh("anna", age_seconds=0), "written")
    took = turn(proof, proof.definition_of(answer), directory)
    if took.bearers[-1] != "anna":
        raise Missed(took.story())
    return took.way


def mark(place: Path, profiles: tuple[str, str, str], state: tuple[str, str, str], value: str, time: str, usage: dict) -> bool:
    """Marks the profiles as failed, and returns whether this is the store that the release keeps profiles in.

    2026.8.1 and later keep the tables of earlier releases, empty, and refuse entries there.
    """
    if not place.exists():
        return False
    with sqlite3.connect(place) as database:
        if not row_of(database, *profiles):
            return False
        table, key, id = state
        row = row_of(database, *state, value)
        content = json.dumps((json.loads(row[0]) if row else {"version": 1}) | usage)
        if row:
            database.execute(f"UPDATE {table} SET {value} = ? WHERE {key} = ?", [content, id])
        else:
            database.execute(f"INSERT INTO {table} ({key}, {value}, {time}) VALUES (?, ?, 1)", [id, content])
    database.close()
    return True


def row_of(database: sqlite3.Connection, table: str, key: str, id: str, value: str = "1") -> tuple | None:
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchone():
        return None
    return database.execute(f"SELECT {value} FROM {table} WHERE {key} = ?", [id]).fetchone()


CHOSEN = {"mode": "token", "token": "chosen-by-the-user"}
PASSWORD = {"mode": "password", "password": "chosen-by-the-user"}
PROXY = {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-user"}}
# Sections `gateway` as users write them. Tests of the merge check which parts stay; here each gateway has to start.
GATEWAYS = {
    "serve": {"bind": "loopback", "tailscale": {"mode": "serve"}, "auth": CHOSEN},
    "funnel": {"tailscale": {"mode": "funnel"}, "auth": PASSWORD},
    "password": {"bind": "lan", "auth": PASSWORD},
    "none": {"auth": {"mode": "none"}},
    "trusted-proxy": {"auth": PROXY, "trustedProxies": ["10.0.0.7"]},
    "tailnet, another port": {"bind": "tailnet", "port": 19001, "auth": CHOSEN},
    "custom": {"bind": "custom", "customBindHost": "0.0.0.0"},
}
# Sections that the service does not have to change.
UNCHANGED = {"custom"}
# Sections with which a turn is taken.
TURNS = {"serve", "tailnet, another port"}


@situation("tailscale")
@proved
def tailscale(proof: Proof) -> str:
    auth = signin.fresh("ann")
    definition, directory = proof.provision("ann", auth)
    original = json.loads((directory / "openclaw.json").read_text())
    for name, gateway in GATEWAYS.items():
        write(directory, definition, "openclaw.json", original | {"gateway": {"mode": "local"} | gateway})
        answer = again(proof, "ann", auth, "kept_fresher")
        definition = proof.definition_of(answer)
        warned = [warning for warning in answer["warnings"] if warning["code"].startswith("openclaw_json")]
        if (name in UNCHANGED) == bool(warned):
            raise Missed(f"{name}: warnings {warned}")
        with Container(proof.world, definition, directory, proof.log) as container:
            ran = container.openclaw("config", "validate")
            if ran.code != 0:
                raise Missed(f"{name}: {ran.last_words()}")
            # The gateway must listen on the port that the API names.
            if not proof.gateway(container):
                raise Missed(f"{name}: {proof.why_no_gateway}")
            if name in TURNS:
                took = take_turn(container, proof.provisioner, proof.report.remarks)
                if not took.proves("ann"):
                    raise Missed(f"{name}: {took.story()}")
            container.stop_gateway()
    return ", ".join(GATEWAYS)


@situation("default_agent_not_main")
@proved
def default_agent(proof: Proof) -> str:
    auth = signin.fresh("ann")
    definition, directory = proof.provision("ann", auth)
    file = json.loads((directory / "openclaw.json").read_text())
    file["agents"]["list"] = [{"id": "main"}, {"id": "work", "default": True}]
    write(directory, definition, "openclaw.json", file)
    answer = again(proof, "ann", auth, "kept_fresher")
    took = turn(proof, proof.definition_of(answer), directory, "work")
    if took.bearers[-1] != "ann":
        raise Missed(took.story())
    return took.way
