#!/usr/bin/env python3
"""Proves, with real OpenClaw releases from npm, that the files that the provisioner stages sign a user in. See README.md."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, TypeVar

sys.dont_write_bytecode = True

import chain  # noqa: E402
import people  # noqa: E402, F401
import situations  # noqa: E402
import table  # noqa: E402
from checks import Proof, Stopped  # noqa: E402
from container import World  # noqa: E402
from findings import Finding, Report, checks  # noqa: E402
from provisioner import Provisioner  # noqa: E402
from releases import Cache, Unreachable, certificates  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
TOOLS = ["npm", "openssl", "unshare", "nsenter", "chroot", "mount", "ip"]


def main() -> int:
    args = parse()
    # SIGTERM to this run ends its containers and servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if why := lacking():
        return skip(args, why)
    cache = Cache(Path(os.environ.get("OPENCLAW_CACHE") or ROOT / "target/openclaw"))
    try:
        node = cache.node()
    except Unreachable as error:
        return skip(args, str(error))
    run = Run(args, cache, node)
    for release in dict.fromkeys(args.releases.split(",") if args.releases else []):
        run.release(release) if not args.situations else run.situations(release, args.situations.split(","))
    if args.chain:
        run.chain(args.chain.split(","))
    print(", ".join(f"{count} {word}" for word, count in run.counts.items()), flush=True)
    return 1 if run.counts["failed"] or (run.counts["skipped"] and args.require) else 0


class Run:
    def __init__(self, args: argparse.Namespace, cache: Cache, node: Path):
        self.args, self.cache, self.node = args, cache, node
        self.counts = {"passed": 0, "with a known limit": 0, "failed": 0, "skipped": 0}

    def release(self, release: str) -> None:
        installed = self.installed(release)
        if not installed:
            return
        modules, figures = installed

        def prove(place: Path) -> Report:
            with Provisioner(self.args.binary.resolve(), release, place / "dev") as provisioner:
                if self.args.template:
                    provisioner.restrict(self.args.template)
                return Proof(release, self.world(place, modules), provisioner, place / "container.log", self.args.quick).run()

        try:
            report = self.in_a_place(release, prove)
        except Exception as error:
            # An error with one release must not hide the results of the others.
            accident = Finding("no", f"the harness failed: {type(error).__name__}: {error}")
            report = Report(release, {check: accident for check in checks(self.args.quick)})
        report.figures |= figures
        tell(report)
        self.counts["passed" if report.all_yes else "failed" if table.unexplained(report) else "with a known limit"] += 1
        if self.args.results:
            table.write(self.args.results, releases=[table.release(report, self.args.date, self.args.about)])

    def situations(self, release: str, names: list[str]) -> None:
        """The second table's cells of a release."""
        installed = self.installed(release)
        if not installed:
            return
        found = {}
        remarks: list[list[str]] = []
        for name in names:
            def prove(place: Path, how: situations.Situation = situations.HOW[name]) -> Finding:
                with Provisioner(self.args.binary.resolve(), release, place / "dev") as provisioner:
                    proof = Proof(release, self.world(place, installed[0]), provisioner, place / "container.log", True)
                    remarks.append(proof.report.remarks)
                    try:
                        return how(proof)
                    except Stopped:
                        missed = [finding for finding in proof.report.findings.values() if not finding]
                        return missed[-1] if missed else Finding("no", "stopped")

            try:
                found[name] = self.in_a_place(f"{release}-{name}", prove)
            except Exception as error:
                found[name] = Finding("no", f"the harness failed: {type(error).__name__}: {error}")
            print(f"{release:12} {name:24} {found[name].verdict:4} {found[name].note}")
            print("".join(f"  remark: {remark}\n" for remark in dict.fromkeys(remarks[-1] if remarks else [])), end="", flush=True)
            entry = table.situations(release, found, self.args.date, self.args.about)
            # After each one, since a run is long and may be ended.
            if self.args.results:
                table.write(self.args.results, situations=entry)
        self.counts["failed" if entry["unexplained"] else "passed" if all(found.values()) else "with a known limit"] += 1

    def chain(self, releases: list[str]) -> None:
        installed = [self.installed(release) for release in releases]
        if not all(installed):
            return
        modules = [(release, modules) for release, (modules, _) in zip(releases, installed)]

        def prove(place: Path) -> list[dict]:
            with Provisioner(self.args.binary.resolve(), releases[0], place / "dev") as provisioner:
                world = self.world(place, modules[0][1])
                return list(chain.steps(modules, world, provisioner, place / "container.log"))

        steps = self.in_a_place("chain", prove)
        print("\nchain\n" + "\n".join(f"  {step['release']:12} {step['signed_in']:5} {step['note']}" for step in steps))
        self.counts["failed" if any(step["signed_in"] == "no" for step in steps) else "passed"] += 1
        if self.args.results:
            table.write(self.args.results, chain={"date": self.args.date, "build": self.args.about, "steps": steps})

    def installed(self, release: str) -> tuple[Path, dict] | None:
        try:
            return self.cache.release(release)
        except Unreachable as error:
            self.counts["skipped"] += 1
            loudly(f"SKIPPED {release}: {error}")
            return None

    def world(self, place: Path, modules: Path) -> World:
        return World(self.node, modules, *certificates(place / "tls"), place / "journal.jsonl", self.args.patience)

    def in_a_place(self, name: str, prove: Callable[[Path], T]) -> T:
        place = Path(tempfile.mkdtemp(prefix=f"openclaw-{name}-"))
        # The container's user looks for its directory below this one.
        place.chmod(0o755)
        (place / "container.log").touch()
        try:
            return prove(place)
        finally:
            if self.args.keep:
                print(f"kept {place}", flush=True)
            else:
                shutil.rmtree(place, ignore_errors=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", help="comma-separated, such as 2026.4.7,2026.4.21")
    parser.add_argument("--chain", help="one user's directory over these releases, one after another, such as "
                                        "2026.4.7,2026.5.12,2026.9.6,2026.5.12")
    parser.add_argument("--situations", help=f"instead of the whole proof, comma-separated: {', '.join(situations.HOW)}")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/debug/openclaw-provisioner")
    parser.add_argument("--quick", action="store_true", help="without the scenario's end: `after` and `new_sign_in`")
    parser.add_argument("--template", type=Path, help="synthesized template of infra's fleet: with its read-only root file system")
    parser.add_argument("--patience", type=int, default=World.patience,
                        help="seconds that a gateway may take to listen, and a turn to be answered; more on a busy machine")
    parser.add_argument("--keep", action="store_true", help="keep users' directories and logs, and print their place")
    parser.add_argument("--require", action="store_true", help="fail if nothing can be run, instead of skipping")
    parser.add_argument("--results", type=Path, help="merge the findings into this JSON file, and the same as .md beside it")
    parser.add_argument("--about", default="", help="which build was run, such as a commit; for --results")
    parser.add_argument("--date", default="", help="of this run, such as 2026-11-21; for --results")
    args = parser.parse_args()
    if not args.releases and not args.chain:
        parser.error("nothing to run: give --releases or --chain")
    if unknown := set(args.situations.split(",") if args.situations else []) - situations.HOW.keys():
        parser.error(f"no such situation: {', '.join(unknown)}")
    if args.results and (args.quick or not args.date or not args.about):
        parser.error("--results needs --date and --about, and a whole run rather than a --quick one")
    return args


def lacking() -> str | None:
    """Why containers cannot be made here, if they cannot."""
    tools = [tool for tool in TOOLS if not shutil.which(tool)]
    if tools:
        return f"needs {', '.join(tools)}"
    if os.geteuid() != 0:
        return "needs root, for namespaces"
    tried = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return f"namespaces and mounts are forbidden here: {tried.stderr.strip()}" if tried.returncode else None


def skip(args: argparse.Namespace, why: str) -> int:
    loudly(f"SKIPPED, nothing was proved: {why}")
    return 1 if args.require else 0


def loudly(words: str) -> None:
    print(f"\n!!!!!!!! {words}\n", file=sys.stderr, flush=True)


def tell(report: Report) -> None:
    figures = report.figures
    print(f"\n{report.release}   {figures.get('proof_seconds')} s, {figures.get('mib')} MiB"
          + (f", installed in {figures['install_seconds']} s" if figures.get("install_seconds") else ""))
    for check, finding in report.findings.items():
        print(f"  {check:14} {finding.verdict:4} {finding.note}")
    for limit in table.limits(report):
        print(f"  known limit: {limit['reason']}")
    for remark in dict.fromkeys(report.remarks):
        print(f"  remark: {remark}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
