#!/usr/bin/env python3
"""Proves, with real OpenClaw releases from npm, that what the provisioner stages signs a user in. See README.md."""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

from checks import CHECKS, Finding, Proof, Report  # noqa: E402
from container import World  # noqa: E402
from provisioner import Provisioner  # noqa: E402
from releases import Cache, Unreachable, certificates  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ["npm", "openssl", "unshare", "nsenter", "chroot", "mount", "ip"]


def main() -> int:
    args = parse()
    lacking = [tool for tool in TOOLS if not shutil.which(tool)]
    if lacking or os.geteuid() != 0:
        return skip(args, f"needs root and {', '.join(lacking)}" if lacking else "needs root, for namespaces")
    cache = Cache(Path(os.environ.get("OPENCLAW_CACHE") or ROOT / "target/openclaw"))
    try:
        node = cache.node()
    except Unreachable as error:
        return skip(args, str(error))
    reports, skipped = [], []
    for release in args.releases.split(","):
        try:
            modules, figures = cache.release(release)
        except Unreachable as error:
            skipped.append(release)
            loudly(f"SKIPPED {release}: {error}")
            continue
        report = prove(release, args, node, modules)
        report.figures |= figures | {"date": args.date, "build": args.about}
        reports.append(report)
        tell(report)
    if args.results:
        keep(Path(args.results), reports)
    if args.json:
        print(json.dumps([as_json(report) for report in reports], indent=1))
    if args.markdown:
        kept = load(Path(args.results)) if args.results else [as_json(report) for report in reports]
        Path(args.markdown).write_text(markdown(kept, args.date))
    good = sum(report.all_yes for report in reports)
    print(f"{good} passed, {len(reports) - good} failed, {len(skipped)} skipped", flush=True)
    return 1 if good < len(reports) or (skipped and args.require) else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", required=True, help="comma-separated, such as 2026.4.7,2026.4.21")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/debug/openclaw-provisioner")
    parser.add_argument("--json", action="store_true", help="print all findings as JSON")
    parser.add_argument("--keep", action="store_true", help="keep users' directories and logs, and say where")
    parser.add_argument("--require", action="store_true", help="fail where npm is unreachable, rather than skip")
    parser.add_argument("--results", help="file of findings as JSON that this run's are merged into")
    parser.add_argument("--markdown", help="file to write the table to, from --results if given")
    parser.add_argument("--about", default="", help="which build was run, for the table, such as a commit")
    parser.add_argument("--date", default="", help="date for the table's heading")
    return parser.parse_args()


def skip(args: argparse.Namespace, why: str) -> int:
    loudly(f"SKIPPED, nothing was proved: {why}")
    return 1 if args.require else 0


def loudly(words: str) -> None:
    print(f"\n!!!!!!!! {words}\n", file=sys.stderr, flush=True)


def prove(release: str, args: argparse.Namespace, node: Path, modules: Path) -> Report:
    place = Path(tempfile.mkdtemp(prefix=f"openclaw-{release}-"))
    log = place / "container.log"
    log.touch()
    # The container's user looks for its directory below this one.
    place.chmod(0o755)
    try:
        authority, certificate, key = certificates(place / "tls")
        world = World(node, modules, authority, certificate, key, place / "journal.jsonl")
        with Provisioner(args.binary.resolve(), release, place / "dev") as provisioner:
            return Proof(release, world, provisioner, log).run()
    except Exception as error:
        # One release's accident must not hide what the others showed.
        report = Report(release)
        report.findings = {check: Finding("no", "not reached") for check in CHECKS}
        report.remarks.append(f"the harness failed: {type(error).__name__}: {error}")
        return report
    finally:
        if args.keep:
            print(f"kept {place}", flush=True)
        else:
            shutil.rmtree(place, ignore_errors=True)


def tell(report: Report) -> None:
    figures = report.figures
    print(f"\n{report.release}   {figures.get('proof_seconds')} s, {figures.get('mib')} MiB"
          + (f", installed in {figures['install_seconds']} s" if figures.get("install_seconds") else ""))
    for check, finding in report.findings.items():
        print(f"  {check:14} {finding.verdict:4} {finding.note}")
    for remark in dict.fromkeys(report.remarks):
        print(f"  remark: {remark}")
    sys.stdout.flush()


def as_json(report: Report) -> dict:
    return dataclasses.asdict(report)


def load(place: Path) -> list[dict]:
    return json.loads(place.read_text()) if place.exists() else []


def keep(place: Path, reports: list[Report]) -> None:
    known = {entry["release"]: entry for entry in load(place)}
    known |= {report.release: as_json(report) for report in reports}
    order = sorted(known.values(), key=lambda entry: [int(part) for part in entry["release"].split("-")[0].split(".")])
    place.write_text(json.dumps(order, indent=1) + "\n")


def markdown(entries: list[dict], date: str) -> str:
    mark = {"yes": "yes", "no": "**no**", "–": "–"}
    lines = [f"# Compatibility with OpenClaw releases{', ' + date if date else ''}", "",
             "Written by `tests/openclaw/run.py`: each release as npm has it, run over the directory that the real",
             "binary staged, with the environment, command, user and mount of the registered task definition, offline,",
             "against a stand-in for the ChatGPT API. Releases without a row were not run.", "",
             "| release | " + " | ".join(CHECKS) + " |", "|" + "---|" * (len(CHECKS) + 1)]
    for entry in entries:
        cells = [mark[entry["findings"][check]["verdict"]] for check in CHECKS]
        lines.append(f"| {entry['release']} | " + " | ".join(cells) + " |")
    lines += ["", "## What each column says", ""]
    lines += [f"- **{check}**: {meaning}." for check, meaning in CHECKS.items()]
    lines += ["", "## Reasons and remarks", ""]
    for entry in entries:
        figures = entry["figures"]
        gateway = figures.get("gateway", {})
        facts = [f"run {figures['date']}"] if figures.get("date") else []
        if figures.get("build"):
            facts.append(f"provisioner {figures['build']}")
        facts.append(f"{figures.get('mib')} MiB installed")
        if "seconds" in gateway:
            facts.append(f"gateway listens after {gateway['seconds']} s (/healthz {gateway['healthz']}, "
                         f"/readyz {gateway['readyz']})")
        if figures.get("memory_mib"):
            facts.append(f"{figures['memory_mib']} MiB resident after a turn")
        if figures.get("staged_files"):
            facts.append("staged " + ", ".join(f"`{file}`" for file in figures["staged_files"]))
        if figures.get("live_token_in"):
            facts.append("live refresh token in " + ", ".join(f"`{file}`" for file in figures["live_token_in"]))
        lines.append(f"- **{entry['release']}**: {'; '.join(facts)}.")
        for check, finding in entry["findings"].items():
            if finding["verdict"] == "no":
                lines.append(f"  - {check}: {plain(finding['note'])}")
        for remark in dict.fromkeys(entry["remarks"]):
            lines.append(f"  - {plain(remark)}")
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
