// Images and compose.yaml (for other engines) must agree with the task definitions (for ECS, which ignores the images' settings).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { containerOf, DEV, templates } from "./synth.ts";

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

/** The one exec form of an instruction, with its continuation lines. */
function words(dockerfile: string, instruction: string): string[] {
  const found = [...dockerfile.replaceAll("\\\n", "").matchAll(new RegExp(`^${instruction} .*?(\\[.*\\])$`, "gm"))];
  assert.equal(found.length, 1, instruction);
  return JSON.parse(found[0]?.[1] ?? "");
}

const provisioner = () => {
  const { provisioner } = templates(DEV);
  assert.ok(provisioner);
  return containerOf(provisioner);
};
const seconds = (dockerfile: string, flag: string) => Number(new RegExp(`--${flag}=(\\d+)s`).exec(dockerfile)?.[1]);

test("the service is started and checked as its image says", () => {
  const dockerfile = read("Dockerfile");
  const container = provisioner();
  assert.deepEqual(container["HealthCheck"]["Command"], ["CMD", ...words(dockerfile, "HEALTHCHECK")]);
  assert.deepEqual(words(dockerfile, "ENTRYPOINT").slice(0, 1), words(dockerfile, "HEALTHCHECK").slice(0, 1));
  // A file system that this app has just created has no id in it yet.
  const command = [...words(dockerfile, "CMD"), "--initialize"];
  assert.deepEqual([container["EntryPoint"], container["Command"]], [undefined, command]);
  assert.equal(container["User"], /^USER (\S+)$/m.exec(dockerfile)?.[1]);
});

test("users' containers are started and checked as their image says", () => {
  const dockerfile = read("infra/openclaw/Dockerfile");
  const container = containerOf(templates(DEV).fleet);
  assert.deepEqual(container["HealthCheck"], {
    Command: ["CMD", ...words(dockerfile, "HEALTHCHECK")],
    Interval: seconds(dockerfile, "interval"),
    Timeout: seconds(dockerfile, "timeout"),
    StartPeriod: seconds(dockerfile, "start-period"),
    Retries: 3,
  });
  assert.deepEqual([container["EntryPoint"], container["Command"]], [undefined, words(dockerfile, "CMD")]);
  assert.equal(container["User"], [...dockerfile.matchAll(/^USER (\S+)$/gm)].at(-1)?.[1]);
});

test("the service's root has the same capabilities as in compose.yaml", () => {
  // Docker's default, and Fargate's (ECS API reference, KernelCapabilities), which lets none be added but SYS_PTRACE.
  const all =
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT";
  const kept = /cap_add: \[(.*)\]/.exec(read("compose.yaml"))?.[1]?.split(", ") ?? [];
  const dropped = provisioner()["LinuxParameters"]["Capabilities"]["Drop"] as string[];
  assert.deepEqual([...kept, ...dropped].sort(), all.split(" "));
});

test("work under way can stop before ECS kills the service", () => {
  const [, grace] = /const GRACE: Duration = Duration::from_secs\((\d+)\)/.exec(read("src/cli/server.rs")) ?? [];
  // After the grace period, traces and other output have 5 s.
  assert.ok(provisioner()["StopTimeout"] >= Number(grace) + 5, grace);
});
