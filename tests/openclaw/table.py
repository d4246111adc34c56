"""The findings as files: `docs/compatibility.json`, and `docs/compatibility.md`, which is the same for people to read.

    {"date": the newest run's, "checks": {check: what it says}, "releases": [RELEASE, …], "chains": [CHAIN, …],
     "situations": {situation: what it says}, "situation_runs": {release: {situation: RUN}}}

    RELEASE = {"openclaw_version": "2026.9.6", "plan": "store", "all_yes": true,
               "checks": {check: "yes" | "no" | "n/a"}, "reason": null or why not all are yes,
               "date": "2026-11-21", "build": the provisioner's commit, "notes": [remarks], "facts": {…}}
    RUN = {"verdict": "yes" | "no" | "n/a", "reason": null or why not, "date", "build"}
    CHAIN = {"date", "build", "steps": [{"release", "signed_in": "yes" | "anew" | "no", "note"}]}

Oldest release first. `anew`: a new sign-in had to be sent, as the service said (chain.py).
If somebody found the reason, it replaces the bare finding. `docs/known-limits.json` has the reasons:
`{"limits": [{"from": release, "to": release, "checks": [those that miss], "reason": "…"}]}`, where checks may be situations.
"""

import json
from pathlib import Path

from findings import CHECKS, NOT_REACHED, Finding, Report
from situations import SITUATIONS

ROOT = Path(__file__).resolve().parents[2]
LIMITS = ROOT / "docs/known-limits.json"
FACTS = ["mib", "gateway", "turn_seconds", "memory_mib", "stop_seconds", "staged_files", "live_token_in", "proof_seconds"]


def release(report: Report, date: str, build: str) -> dict:
    """One entry of `releases`."""
    return {
        "openclaw_version": report.release,
        "plan": report.figures.get("plan"),
        "all_yes": report.all_yes,
        "checks": {check: report.findings[check].verdict for check in CHECKS},
        "reason": reason(report),
        "date": date,
        "build": build,
        "notes": list(dict.fromkeys(report.remarks)),
        "facts": {name: report.figures[name] for name in FACTS if name in report.figures},
    }


def situations(release: str, found: dict[str, Finding], date: str, build: str) -> dict:
    """`{"release", "runs": {situation: RUN}, "unexplained"}`."""
    report = Report(release, found)
    known = {check: limit["reason"] for limit in limits(report) for check in limit["checks"]}
    runs = {name: {"verdict": finding.verdict, "reason": None if finding else known.get(name, finding.note), "date": date,
                   "build": build} for name, finding in found.items()}
    return {"release": release, "runs": runs, "unexplained": bool(unexplained(report))}


def reason(report: Report) -> str | None:
    """Why not all checks are yes: this release's known limits, then the unexplained findings."""
    known = [limit["reason"] for limit in limits(report)]
    seen = [f"{check}: {finding.note}" for check, finding in unexplained(report).items() if finding != NOT_REACHED]
    return "; ".join(known + seen) or None


def unexplained(report: Report) -> dict[str, Finding]:
    """The checks that are not yes and have no known reason."""
    known = {check for limit in limits(report) for check in limit["checks"]}
    return {check: finding for check, finding in report.findings.items() if not finding and check not in known}


def limits(report: Report) -> list[dict]:
    missed = {check for check, finding in report.findings.items() if not finding}
    return [limit for limit in json.loads(LIMITS.read_text())["limits"]
            if within(report.release, limit) and missed.intersection(limit["checks"])]


def within(version: str, limit: dict) -> bool:
    return number(limit["from"]) <= number(version) <= number(limit["to"])


def number(version: str) -> list[int]:
    return [int(part) for part in version.split("-")[0].split(".")]


def write(place: Path, releases: list[dict] = [], chain: dict | None = None, situations: dict | None = None) -> None:
    """Replaces older entries of the same releases by these, and renders the file."""
    known = json.loads(place.read_text()) if place.exists() else {"releases": [], "chains": []}
    of = {entry["openclaw_version"]: entry for entry in [*known["releases"], *releases]}
    chains = {route(entry): entry for entry in [*known["chains"], *([chain] if chain else [])]}
    runs = {version: dict(cells) for version, cells in known.get("situation_runs", {}).items()}
    if situations:
        runs.setdefault(situations["release"], {}).update(situations["runs"])
    dates = [entry["date"] for entry in [*of.values(), *chains.values(), *(run for cells in runs.values() for run in cells.values())]]
    document = {
        "date": max(dates),
        "checks": CHECKS,
        "releases": sorted(of.values(), key=lambda entry: number(entry["openclaw_version"])),
        "chains": list(chains.values()),
        "situations": SITUATIONS,
        "situation_runs": dict(sorted(runs.items(), key=lambda entry: number(entry[0]))),
    }
    place.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    place.with_suffix(".md").write_text(markdown(document))


def route(chain: dict) -> str:
    return " → ".join(step["release"] for step in chain["steps"])


def markdown(document: dict) -> str:
    mark = {"yes": "yes", "no": "**no**", "n/a": "–"}
    lines = [f"# Compatibility with OpenClaw releases, {document['date']}", "",
             "Rendered from [compatibility.json](compatibility.json) by `tests/openclaw/run.py`: each release as npm has it,",
             "run over the directory that the real binary staged, with the environment, command, user and mount of the",
             "registered task definition, offline, against a stand-in for the ChatGPT API. Releases without a row were not run, an empty",
             "cell was added after the run; npm has no 2026.4.28.",
             "", "| release | plan | " + " | ".join(words(check) for check in CHECKS) + " | run | build |",
             "|" + "---|" * (len(CHECKS) + 4)]
    for entry in document["releases"]:
        cells = [mark[entry["checks"][check]] if check in entry["checks"] else "" for check in CHECKS]
        lines.append("| " + " | ".join([entry["openclaw_version"], f"`{entry['plan']}`", *cells, entry["date"],
                                        entry["build"]]) + " |")
    lines += ["", "## What each column says", ""]
    lines += [f"- **{words(check)}**: {meaning}." for check, meaning in CHECKS.items()]
    lines += ["", "## Why not", ""]
    missed = [entry for entry in document["releases"] if entry["reason"]]
    lines += [f"- **{entry['openclaw_version']}**: {plain(entry['reason'])}" for entry in missed] or ["All are yes."]
    lines += in_situations(document)
    lines += ["", "## One directory from release to release", ""]
    for chain in document["chains"]:
        lines.append(f"{route(chain)}, by `redeploy`, run {chain['date']}, build {chain['build']}:")
        lines += ["", "| release | signed in | |", "|---|---|---|"]
        lines += [f"| {step['release']} | {step['signed_in']} | {plain(step['note'])} |" for step in chain["steps"]]
    lines += ["", "## Remarks and figures", ""]
    for entry in document["releases"]:
        lines.append(f"- **{entry['openclaw_version']}**: {'; '.join(facts(entry['facts']))}.")
        lines += [f"  - {plain(note)}" for note in entry["notes"]]
    return "\n".join(lines) + "\n"


def in_situations(document: dict) -> list[str]:
    """The second table: situations that people are in, each proved by itself."""
    runs = document.get("situation_runs") or {}
    if not runs:
        return []
    mark = {"yes": "yes", "no": "**no**", "n/a": "–"}
    lines = ["", "## In people's situations", "", "Each cell is a run of its own; an empty one was not run.",
             "", "| release | " + " | ".join(words(name) for name in SITUATIONS) + " | run | build |",
             "|" + "---|" * (len(SITUATIONS) + 3)]
    for version, cells in runs.items():
        newest = max(cells.values(), key=lambda run: run["date"])
        found = [mark[cells[name]["verdict"]] if name in cells else "" for name in SITUATIONS]
        lines.append("| " + " | ".join([version, *found, newest["date"], newest["build"]]) + " |")
    lines += [""] + [f"- **{words(name)}**: {meaning}." for name, meaning in SITUATIONS.items()]
    missed = [(version, name, run["reason"]) for version, cells in runs.items() for name, run in cells.items() if run["reason"]]
    lines += [""] * bool(missed) + [f"- {version}, {words(name)}: {plain(reason)}" for version, name, reason in missed]
    return lines


def facts(figures: dict) -> list[str]:
    gateway = figures.get("gateway", {})
    said = [f"{figures.get('mib')} MiB installed"]
    if "seconds" in gateway:
        said.append(f"gateway listens after {gateway['seconds']} s (/healthz {gateway['healthz']}, "
                    f"/readyz {gateway['readyz']})")
    if figures.get("memory_mib"):
        said.append(f"{figures['memory_mib']} MiB resident after a turn")
    for name, files in (("staged", "staged_files"), ("live refresh token in", "live_token_in")):
        if figures.get(files):
            said.append(f"{name} " + ", ".join(f"`{file}`" for file in figures[files]))
    return said


def words(check: str) -> str:
    return check.replace("_", " ")


def plain(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")
