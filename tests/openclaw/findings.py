"""The checks of a release, and their results."""

from dataclasses import dataclass, field

CHECKS = {
    "staged": "provisioned; `codex/auth.json`, `openclaw.json` and `CODEX_HOME` are there, private and owned by the container's user",
    "import": "what the release must run before its gateway did its work",
    "config": "`openclaw config validate` accepts the staged `openclaw.json`",
    "gateway": "the container's own command listens on 18789",
    "turn": "one turn was answered, with the staged access token",
    "restart": "provisioned again with the same sign-in, nothing rewritten or imported again; a turn in another container over the same directory",
    "refresh": "a sign-in whose access token is over: the turn was answered after exactly one rotation",
    "kept": "provisioned again with the spent sign-in: the answer is `kept_fresher`",
    "after": "and the next turn, in another container, was answered without another rotation",
    "new_sign_in": "after signing out everywhere and in again: `written`, and a turn in another container uses the new token",
    "isolated": "run as `infra/` runs it: a hostile program of the user's gets neither the path to the task role's credentials nor any right of root's, by none of the ways in `hostile.py`, not while health checks run, and not from the user's own entry script",
    "no_stale_copy": "after the rotation no file under the user's directory still holds the spent refresh token",
}
# The checks that only the whole scenario has.
SLOW = ["after", "new_sign_in"]


def checks(quick: bool) -> list[str]:
    return [check for check in CHECKS if not (quick and check in SLOW)]


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


NOT_REACHED = no("not reached")
NOTHING_TO_DO = Finding("n/a", "nothing to do on this release")


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
        return all(self.findings.values())
