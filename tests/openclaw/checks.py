"""What is proved for a release, step by step, over what the real provisioner staged.

Two users. `ann` comes with a sign-in that is good for days; `ben` with one whose access token is over, as after a
holiday: only his refresh token still counts.

    ann  provisioned → [import] → config validate → gateway → a turn → SIGTERM
         provisioned again with the same sign-in, another container over the same directory → a turn
    ben  provisioned → [import] → gateway → a turn, which has to spend his refresh token, once
         provisioned again with the old sign-in, another container → a turn, which must not spend another
         signed out everywhere, signed in anew, provisioned with that, another container → [import] → a turn
"""

import json
import os
import re
import stat
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import signin
from container import Container, Definition, World
from provisioner import Provisioner
from standin import ANSWER

CHECKS = {
    "staged": "provisioned; `codex/auth.json` and `CODEX_HOME` are there, private and owned by the container's user",
    "import": "what the release must run before its gateway did its work",
    "config": "`openclaw config validate` accepts `openclaw.json`",
    "gateway": "the container's own command listens on 18789",
    "turn": "one turn was answered, with the staged access token",
    "restart": "provisioned again with the same sign-in, nothing rewritten or imported again; a turn in another container over the same directory",
    "refresh": "a sign-in whose access token is over: the turn was answered after exactly one rotation",
    "kept": "provisioned again with the spent sign-in: the answer is `kept_fresher`",
    "after": "and the next turn, in another container, was answered without another rotation",
    "new sign-in": "after signing out everywhere and in again: `written`, and a turn in another container uses the new token",
    "no stale copy": "after the rotation no file under the user's directory still holds the spent refresh token",
}
GATEWAY_SECONDS = 180
TURN_SECONDS = 300
SECRET_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:profiles-AbCdEf"


@dataclass
class Finding:
    """`yes` with a remark, `no` with a reason, or nothing to check."""

    verdict: str
    note: str = ""

    def __bool__(self) -> bool:
        return self.verdict != "no"


def yes(note: str = "") -> Finding:
    return Finding("yes", note)


def no(reason: str) -> Finding:
    return Finding("no", reason)


NOTHING_TO_DO = Finding("–", "nothing to do on this release")


@dataclass
class Report:
    release: str
    findings: dict[str, Finding] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)

    def __setitem__(self, check: str, finding: Finding) -> None:
        assert check in CHECKS
        self.findings[check] = finding

    @property
    def all_yes(self) -> bool:
        return set(self.findings) == set(CHECKS) and all(self.findings.values())


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


class Proof:
    def __init__(self, release: str, world: World, provisioner: Provisioner, log: Path):
        self.release, self.world, self.provisioner, self.log = release, world, provisioner, log
        self.number = tuple(int(part) for part in re.findall(r"\d+", release)[:3])
        self.report = Report(release)

    def run(self) -> Report:
        started = time.monotonic()
        for scenario in (self.ann, self.ben):
            try:
                scenario()
            except Stopped:
                pass
        for check in CHECKS:
            self.report.findings.setdefault(check, no("not reached"))
        if self.report.figures.get("config"):
            self.report.remarks.append("config by the harness")
        self.report.figures["proof_seconds"] = round(time.monotonic() - started)
        return self.report

    def ann(self) -> None:
        report = self.report
        auth = signin.fresh("ann")
        definition, directory = self.provision("ann", auth)
        report["staged"] = self.require("staged", self.staged(definition, directory, "ann"))
        self.harness_config(directory)
        with Container(self.world, definition, directory, self.log) as container:
            report["import"] = self.pre_gateway(container)
            if not definition.entry_point:
                report["config"] = self.validated(container)
            self.gateway(container, "gateway")
            if definition.entry_point:
                # Not sooner: the entry point has to find the directory as it was staged.
                report["config"] = self.validated(container)
                report["import"] = self.imported(container)
            imports = self.imports()
            turn = self.turn(container)
            report["turn"] = yes(turn.way) if turn.proves("ann") and not turn.granted + turn.refused else no(turn.story())
            report.figures["turn_seconds"] = turn.seconds
            report.figures["memory_mib"] = container.memory_mib()
            report.figures["stop_seconds"] = container.stop_gateway()
        status, again = self.provisioner.provision("ann", auth)
        with Container(self.world, self.definition_of(again), directory, self.log) as container:
            if not self.starts(container):
                report["restart"] = no(self.why_no_gateway)
            else:
                turn = self.turn(container)
                good = status in (200, 201, 202) and again.get("credentials") == "kept_fresher" and turn.proves("ann")
                repeated = "; the import was repeated" if self.imports() > imports else ""
                report["restart"] = yes(turn.way) if good and not turn.granted + turn.refused and not repeated else no(
                    f"{status} {again.get('credentials')}; {turn.story()}{repeated}")
            container.stop_gateway()

    def ben(self) -> None:
        report = self.report
        auth = signin.expired("ben")
        definition, directory = self.provision("ben", auth)
        self.harness_config(directory)
        before = len(self.world.lines())
        with Container(self.world, definition, directory, self.log) as container:
            if not self.starts(container):
                self.require("refresh", no(self.why_no_gateway))
            turn = self.turn(container)
            granted, refused = self.refreshes(before)
            live = f"ben.r{self.rotations()}" if granted == ["ben"] else "?"
            report["refresh"] = (yes(turn.way) if turn.proves(live) and granted == ["ben"] and not refused else
                                 no(f"{turn.story()}; in all {len(granted)} rotations, {len(refused)} refused"))
            container.stop_gateway()
        if granted:
            report["no stale copy"] = self.no_stale_copy(directory, spent="ben", live=live)
        status, again = self.provisioner.provision("ben", auth)
        kept = again.get("credentials") == "kept_fresher"
        report["kept"] = yes(str(again.get("credentials_reason") or "")) if kept else no(
            f"{status} {again.get('credentials')} {again.get('credentials_reason') or again.get('detail') or ''}")
        if granted:
            self.next_turn(directory, again, live)
        self.signs_in_anew(directory)

    def next_turn(self, directory: Path, again: dict, live: str) -> None:
        report, before = self.report, len(self.world.lines())
        with Container(self.world, self.definition_of(again), directory, self.log) as container:
            if not self.starts(container):
                report["after"] = no(self.why_no_gateway)
            else:
                turn = self.turn(container)
                granted, refused = self.refreshes(before)
                good = turn.proves(live) and not granted and not refused
                report["after"] = yes(turn.way) if good else no(turn.story())
            container.stop_gateway()

    def signs_in_anew(self, directory: Path) -> None:
        """What a caller does who was told that the sign-in is over."""
        report = self.report
        self.world.revoke("ben")
        status, again = self.provisioner.provision("ben", signin.fresh("cleo", age_seconds=0))
        said = f"{status} {again.get('credentials')} {again.get('credentials_reason') or again.get('detail') or ''}"
        if again.get("credentials") != "written":
            report["new sign-in"] = no(said)
            return
        with Container(self.world, self.definition_of(again), directory, self.log) as container:
            if not self.starts(container):
                report["new sign-in"] = no(self.why_no_gateway)
            else:
                turn = self.turn(container)
                report["new sign-in"] = yes(turn.way) if turn.proves("cleo") else no(f"{said}; {turn.story()}")
            container.stop_gateway()

    # steps

    def provision(self, user: str, auth: dict) -> tuple[Definition, Path]:
        status, answer = self.provisioner.provision(user, auth)
        if status not in (200, 201, 202) or answer.get("credentials") != "written":
            self.require("staged", no(f"POST /provision: {status} {answer.get('code') or answer.get('credentials')} "
                                      f"{answer.get('detail') or ''}"))
        if answer.get("warnings"):
            self.report.figures["warnings"] = answer["warnings"]
        if "auth_profile_secret_key_missing" in json.dumps(answer.get("warnings")):
            # What the warning asks its caller for. The container finds a random value of this name, the same each time.
            self.provisioner.provision(user, auth, {"OPENCLAW_AUTH_PROFILE_SECRET_KEY": SECRET_ARN})
            self.report.remarks.append("with OPENCLAW_AUTH_PROFILE_SECRET_KEY as a secret of the caller's, as the answer asks")
        container = self.provisioner.await_running(user)
        return self.definition_of(container), self.provisioner.user_directory(user)

    def definition_of(self, answer: dict) -> Definition:
        return self.provisioner.definition(answer["task_definition"])

    def staged(self, definition: Definition, directory: Path, name: str) -> Finding:
        codex = f"{definition.mount_path}/codex"
        if definition.environment.get("CODEX_HOME") != codex:
            return no(f"CODEX_HOME is {definition.environment.get('CODEX_HOME')}, not {codex}")
        if not definition.image.endswith(f":{self.release}"):
            return no(f"the definition's image is {definition.image}")
        files = {str(path.relative_to(directory)): path.lstat() for path in sorted(directory.rglob("*"))}
        uid = int(definition.user.split(":")[0])
        for path, status in files.items():
            if status.st_uid != uid or stat.S_IMODE(status.st_mode) & 0o077:
                return no(f"{path} is {stat.filemode(status.st_mode)} of {status.st_uid}")
        if "codex/auth.json" not in files:
            return no("no codex/auth.json")
        plain = [path for path, status in files.items() if stat.S_ISREG(status.st_mode)]
        self.report.figures["staged_files"] = plain
        self.report.figures["environment"] = sorted(definition.environment)
        self.report.figures["secrets"] = sorted(definition.secrets)
        self.report.figures["entry_point"] = definition.entry_point
        self.report.figures["command"] = definition.command
        if "refresh_token" not in json.loads((directory / "codex/auth.json").read_bytes())["tokens"]:
            return no("codex/auth.json lacks refresh_token")
        return yes(", ".join(plain))

    def harness_config(self, directory: Path) -> None:
        """The least that the gateway starts with, where the product stages no `openclaw.json`."""
        place = directory / "openclaw.json"
        if place.exists():
            return
        model, runtime = self.model()
        defaults = {"model": {"primary": model}} | ({"models": {model: {"agentRuntime": {"id": runtime}}}} if runtime else {})
        place.write_text(json.dumps({
            "gateway": {"mode": "local", "port": 18789, "bind": "lan",
                        "auth": {"mode": "token", "token": os.urandom(24).hex()}},
            "agents": {"defaults": defaults},
        }, indent=2))
        os.chmod(place, 0o600)
        owner = directory.stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        self.report.figures["config"] = "by the harness"

    def model(self) -> tuple[str, str | None]:
        if self.number < (2026, 4, 25):
            return "openai-codex/gpt-5.4", None
        if self.number < (2026, 5, 12):
            return "openai-codex/gpt-5.5", None
        if self.number < (2026, 6, 0):
            return "openai-codex/gpt-5.5", "pi"
        return "openai/gpt-5.5", "openclaw"

    def pre_gateway(self, container: Container) -> Finding:
        """Where the container has no entry point that imports, and the release needs it, the harness does, and says so."""
        if self.number < (2026, 6, 5):
            return NOTHING_TO_DO
        if container.definition.entry_point:
            return Finding("–", "by the container's entry point, not reached")
        # 2026.8.2 refuses outside of what it takes for a container (no /.dockerenv on Fargate either) unless told that
        # something else starts the gateway; other releases do not mind.
        ran = container.run(["env", "OPENCLAW_SERVICE_REPAIR_POLICY=external", "node", "/app/openclaw.mjs", "doctor",
                             "--fix", "--non-interactive"], timeout=300)
        note = f"by the harness, {ran.seconds:.0f} s"
        return yes(note) if ran.code == 0 else no(f"{note}: {ran.last_words()}")

    def imported(self, container: Container) -> Finding:
        """What the entry point left: a receipt of this release, and no file that is still to be imported."""
        if self.number < (2026, 6, 5):
            return NOTHING_TO_DO
        if (container.directory / "agents/main/agent/auth-profiles.json").exists():
            return no("the container's entry point left auth-profiles.json")
        try:
            receipt = json.loads((container.directory / ".provisioner/sign-in.json").read_bytes())
        except (OSError, ValueError) as error:
            return no(f"the container's entry point left no receipt: {error}")
        if receipt.get("imported_by") != self.release or "profile" in receipt:
            return no(f"the receipt has {', '.join(sorted(receipt))}, imported_by {receipt.get('imported_by')}")
        return yes(f"by the container's entry point: {'; '.join(self.provisioner_words()[-1:])}")

    def imports(self) -> int:
        """How often an entry point has called doctor, by what containers said so far."""
        return sum(" was imported by " in line or " brought up to date by " in line for line in self.provisioner_words())

    def provisioner_words(self) -> list[str]:
        marker = "openclaw-provisioner: "
        lines = self.log.read_text(errors="replace").splitlines()
        return [line.removeprefix(marker) for line in lines if line.startswith(marker)]

    def validated(self, container: Container) -> Finding:
        ran = container.openclaw("config", "validate")
        return yes() if ran.code == 0 else no(ran.last_words())

    def starts(self, container: Container) -> bool:
        """A start as any other: the import is repeated, as it would be by a container's entry point."""
        imported = self.pre_gateway(container)
        if not imported:
            self.why_no_gateway = f"import: {imported.note}"
        return bool(imported) and self.gateway(container)

    def gateway(self, container: Container, check: str | None = None) -> bool:
        container.start_gateway()
        state = container.await_gateway(GATEWAY_SECONDS)
        good = "seconds" in state
        if good:
            ready = f"after {state['seconds']} s, /healthz {state['healthz']}, /readyz {state['readyz']}"
            finding = yes(ready)
        elif "died" in state:
            self.why_no_gateway = f"the gateway ended with {state['died']} before it listened: {self.last_log()}"
            finding = no(self.why_no_gateway)
        else:
            self.why_no_gateway = f"the gateway did not listen in {state['silent']} s"
            finding = no(self.why_no_gateway)
        if check:
            self.report[check] = self.require(check, finding)
            self.report.figures["gateway"] = state
        return good

    def turn(self, container: Container) -> Turn:
        """One agent turn through the gateway; where the gateway takes none, in a process beside it."""
        before = len(self.world.lines())
        parameters = {"message": f"say {ANSWER}", "agentId": "main", "idempotencyKey": str(uuid.uuid4())}
        token = self.gateway_token(container)
        ran = container.openclaw("gateway", "call", "agent", "--expect-final", "--json", "--timeout",
                                 str(TURN_SECONDS * 1000), "--params", json.dumps(parameters),
                                 *(["--token", token] if token else []), timeout=TURN_SECONDS + 30)
        way = "through the gateway"
        if not [line for line in self.world.lines()[before:] if line["kind"] in ("turn", "refresh")]:
            self.report.remarks.append(f"a turn through the gateway did not reach the API: {ran.last_words(200)}")
            ran = container.openclaw("agent", "--local", "--agent", "main", "--message", f"say {ANSWER}", "--json",
                                     "--timeout", str(TURN_SECONDS), timeout=TURN_SECONDS + 30)
            way = "beside the gateway, by `agent --local`"
        lines = self.world.lines()[before:]
        turns = [line for line in lines if line["kind"] == "turn"]
        said = ANSWER in ran.out.replace(f"say {ANSWER}", "")
        return Turn(
            answered=ran.code == 0 and said and any(line["answered"] for line in turns),
            bearers=[line["bearer"] for line in turns],
            granted=[line["refresh"] for line in lines if line["kind"] == "refresh" and line["granted"]],
            refused=[line["refresh"] for line in lines if line["kind"] == "refresh" and not line["granted"]],
            way=f"{way}, {ran.seconds:.0f} s", seconds=round(ran.seconds, 1), words=ran.last_words(),
        )

    def gateway_token(self, container: Container) -> str | None:
        """As the web backend would be told."""
        try:
            return json.loads((container.directory / "openclaw.json").read_bytes())["gateway"]["auth"]["token"]
        except (OSError, ValueError, KeyError, TypeError):
            return container.environment().get("OPENCLAW_GATEWAY_TOKEN")

    def refreshes(self, since: int) -> tuple[list[str], list[str]]:
        lines = [line for line in self.world.lines()[since:] if line["kind"] == "refresh"]
        return ([line["refresh"] for line in lines if line["granted"]],
                [line["refresh"] for line in lines if not line["granted"]])

    def rotations(self) -> int:
        return sum(line["kind"] == "refresh" and line["granted"] for line in self.world.lines())

    def no_stale_copy(self, directory: Path, spent: str, live: str) -> Finding:
        """Incident 29: a place that still holds a spent refresh token is a sign-out to come."""
        holds: dict[str, list[str]] = {"live": [], "spent": []}
        for path in sorted(directory.rglob("*")):
            if not path.is_file() or path.is_symlink() or "node_modules" in path.parts:
                continue
            found = re.findall(rb"rt-(ben[a-z0-9.]*)", path.read_bytes())
            names = {name.decode() for name in found}
            place = str(path.relative_to(directory))
            if live in names:
                holds["live"].append(place)
            if spent in names:
                holds["spent"].append(place)
        self.report.figures["live_token_in"] = holds["live"]
        self.report.figures["spent_token_in"] = holds["spent"]
        where = f"live in {', '.join(holds['live']) or 'no file in the clear'}"
        return no(f"spent in {', '.join(holds['spent'])}; {where}") if holds["spent"] else yes(where)

    def require(self, check: str, finding: Finding) -> Finding:
        """Without this one, nothing after it means anything."""
        self.report.findings.setdefault(check, finding)
        if not finding:
            self.report.findings[check] = finding
            raise Stopped
        return finding

    def last_log(self) -> str:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return " / ".join(lines[-3:])[-300:]


class Stopped(Exception):
    """The rest of a scenario cannot be reached."""
