"""The proofs for a release, step by step, over the files that the real provisioner staged.

There are two users. `ann` comes with a sign-in that is good for days; `ben` with one whose access token has expired, as
after a holiday: only his refresh token is still valid.

    ann  provisioned → the container's start, with the import where there is one → config validate → a turn → SIGTERM
         provisioned again with the same sign-in, another container over the same directory → a turn
    ben  provisioned → the container's start → a turn, which has to spend his refresh token, once
         provisioned again with the old sign-in, another container → a turn, which must not spend another
         signed out everywhere, signed in anew, provisioned with that, another container → a turn
"""

import json
import re
import stat
import time
from pathlib import Path

import isolation
import signin
from container import Container, Definition, World
from findings import NOT_REACHED, NOTHING_TO_DO, Finding, Report, checks, no, yes
from provisioner import Provisioner
from turns import Turn, refreshes, take_turn

SECRET_ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:profiles-AbCdEf"


class Proof:
    def __init__(self, release: str, world: World, provisioner: Provisioner, log: Path, quick: bool):
        self.release, self.world, self.provisioner, self.log, self.quick = release, world, provisioner, log, quick
        self.number = tuple(int(part) for part in re.findall(r"\d+", release)[:3])
        self.report = Report(release)

    def run(self) -> Report:
        started = time.monotonic()
        for scenario in (self.ann, self.ben):
            try:
                scenario()
            except Stopped:
                pass
        self.report.findings = {check: self.report.findings.get(check, NOT_REACHED) for check in checks(self.quick)}
        self.report.figures["proof_seconds"] = round(time.monotonic() - started)
        return self.report

    def ann(self) -> None:
        report = self.report
        auth = signin.fresh("ann")
        definition, directory = self.provision("ann", auth)
        report["staged"] = self.require("staged", self.staged(definition, directory, "ann"))
        with Container(self.world, definition, directory, self.log) as container:
            if not definition.has_entry_script:
                report["config"] = self.validated(container)
            self.gateway(container, "gateway")
            if definition.has_entry_script:
                # Not earlier: the entry point has to find the directory as it was staged.
                report["config"] = self.validated(container)
            report["import"] = self.imported(container)
            imports = self.imports()
            turn = self.turn(container)
            report["turn"] = yes(turn.way) if turn.proves("ann") and not turn.granted + turn.refused else no(turn.story())
            report.figures["turn_seconds"] = turn.seconds
            report.figures["memory_mib"] = container.memory_mib()
            if definition.is_isolated:
                report["isolated"] = isolation.proved(container)
            report.figures["stop_seconds"] = container.stop_gateway()
        if definition.is_isolated and report.findings["isolated"]:
            report["isolated"] = isolation.of_own_files(self.world, definition, directory, self.log, report.findings["isolated"])
        status, again = self.provisioner.provision("ann", auth)
        with Container(self.world, self.definition_of(again), directory, self.log) as container:
            if not self.gateway(container):
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
        before = len(self.world.lines())
        with Container(self.world, definition, directory, self.log) as container:
            if not self.gateway(container):
                self.require("refresh", no(self.why_no_gateway))
            turn = self.turn(container)
            granted, refused = refreshes(self.world.lines()[before:])
            live = f"ben.r{self.rotations()}" if granted == ["ben"] else "?"
            report["refresh"] = (yes(turn.way) if turn.proves(live) and granted == ["ben"] and not refused else
                                 no(f"{turn.story()}; in all {len(granted)} rotations, {len(refused)} refused"))
            container.stop_gateway()
        if granted:
            report["no_stale_copy"] = self.no_stale_copy(directory, spent="ben", live=live)
        status, again = self.provisioner.provision("ben", auth)
        kept = again.get("credentials") == "kept_fresher"
        report["kept"] = yes(str(again.get("credentials_reason") or "")) if kept else no(
            f"{status} {again.get('credentials')} {again.get('credentials_reason') or again.get('detail') or ''}")
        if self.quick:
            return
        if granted:
            self.next_turn(directory, again, live)
        self.signs_in_anew(directory)

    def next_turn(self, directory: Path, again: dict, live: str) -> None:
        report, before = self.report, len(self.world.lines())
        with Container(self.world, self.definition_of(again), directory, self.log) as container:
            if not self.gateway(container):
                report["after"] = no(self.why_no_gateway)
            else:
                turn = self.turn(container)
                granted, refused = refreshes(self.world.lines()[before:])
                good = turn.proves(live) and not granted and not refused
                report["after"] = yes(turn.way) if good else no(turn.story())
            container.stop_gateway()

    def signs_in_anew(self, directory: Path) -> None:
        """Does what a caller does after the answer that the sign-in is over."""
        report = self.report
        self.world.revoke("ben")
        status, again = self.provisioner.provision("ben", signin.fresh("cleo", age_seconds=0))
        said = f"{status} {again.get('credentials')} {again.get('credentials_reason') or again.get('detail') or ''}"
        if again.get("credentials") != "written":
            report["new_sign_in"] = no(said)
            return
        with Container(self.world, self.definition_of(again), directory, self.log) as container:
            if not self.gateway(container):
                report["new_sign_in"] = no(self.why_no_gateway)
            else:
                turn = self.turn(container)
                report["new_sign_in"] = yes(turn.way) if turn.proves("cleo") else no(f"{said}; {turn.story()}")
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
            # The warning asks the caller for this secret. The container gets a random value for it, the same each time.
            self.provisioner.provision(user, auth, {"OPENCLAW_AUTH_PROFILE_SECRET_KEY": SECRET_ARN})
            self.report.remarks.append("with OPENCLAW_AUTH_PROFILE_SECRET_KEY as a secret of the caller's, as the answer asks")
        container = self.provisioner.await_running(user)
        self.report.figures["plan"] = self.provisioner.plan(user)
        return self.definition_of(container), self.provisioner.user_directory(user)

    def definition_of(self, answer: dict) -> Definition:
        return self.provisioner.definition(answer["task_definition"])

    def staged(self, definition: Definition, directory: Path, name: str) -> Finding:
        codex = f"{definition.mount_path}/codex"
        if definition.environment.get("CODEX_HOME") != codex:
            return no(f"CODEX_HOME is {definition.environment.get('CODEX_HOME')}, not {codex}")
        if definition.environment.get("OPENCLAW_STATE_DIR") != definition.mount_path:
            return no(f"OPENCLAW_STATE_DIR is {definition.environment.get('OPENCLAW_STATE_DIR')}, not {definition.mount_path}")
        if not definition.image.endswith(f":{self.release}"):
            return no(f"the definition's image is {definition.image}")
        files = {str(path.relative_to(directory)): path.lstat() for path in sorted(directory.rglob("*"))}
        uid = definition.agent
        for path, status in files.items():
            if status.st_uid != uid or stat.S_IMODE(status.st_mode) & 0o077:
                return no(f"{path} is {stat.filemode(status.st_mode)} of {status.st_uid}")
        for needed in ("codex/auth.json", "openclaw.json"):
            if needed not in files:
                return no(f"no {needed}")
        plain = [path for path, status in files.items() if stat.S_ISREG(status.st_mode)]
        self.report.figures["staged_files"] = plain
        self.report.figures["environment"] = sorted(definition.environment)
        self.report.figures["secrets"] = sorted(definition.secrets)
        self.report.figures["entry_point"] = definition.entry_point
        self.report.figures["command"] = definition.command
        if "refresh_token" not in json.loads((directory / "codex/auth.json").read_bytes())["tokens"]:
            return no("codex/auth.json lacks refresh_token")
        return yes(", ".join(plain))

    def imported(self, container: Container) -> Finding:
        """Checks that the entry point left a receipt of this release, and no file that is still to be imported."""
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
        """How often an entry point has called doctor, by the containers' output so far."""
        return sum(" was imported by " in line or " brought up to date by " in line for line in self.provisioner_words())

    def provisioner_words(self) -> list[str]:
        marker = "openclaw-provisioner: "
        lines = self.log.read_text(errors="replace").splitlines()
        return [line.removeprefix(marker) for line in lines if line.startswith(marker)]

    def validated(self, container: Container) -> Finding:
        ran = container.openclaw("config", "validate")
        return yes() if ran.code == 0 else no(ran.last_words())

    def gateway(self, container: Container, check: str | None = None) -> bool:
        container.start_gateway()
        state = container.await_gateway(self.world.patience)
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
        return take_turn(container, self.provisioner, self.report.remarks)

    def rotations(self) -> int:
        return sum(line["kind"] == "refresh" and line["granted"] for line in self.world.lines())

    def no_stale_copy(self, directory: Path, spent: str, live: str) -> Finding:
        """Incident 29: a place that still holds a spent refresh token will sign the user out."""
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
        """Stops the scenario if this check fails: the later checks depend on it."""
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
