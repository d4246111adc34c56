import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { ended, World } from "./world.mjs";

test("the command runs after the import, with its arguments as they are", async (t) => {
  const world = new World(t);
  world.stage(world.pending("ann"));
  const ran = await world.entry(["printf", "<%s>", "a b", "*", ""]);
  assert.deepEqual([ran.code, ran.out, world.order().imported_by], [0, "<a b><*><>", "2026.9.6"]);
});

test("the command replaces the shell, so signals and exit code are the container's", async (t) => {
  const world = new World(t);
  assert.equal((await world.entry(["sh", "-c", "exit 41"])).code, 41);
  const child = world.start(["/bin/sh", path.join(world.state, ".provisioner/entry.sh"), "sh", "-c", "echo $$"]);
  assert.equal((await ended(child)).out.trim(), String(child.pid));
});

test("a failed import ends the start with its code", async (t) => {
  const world = new World(t);
  world.stage(world.pending("ann", { expires: 1000 }));
  const ran = await world.entry(["echo", "started"], { FAKE_NETWORK: "dns" });
  assert.deepEqual([ran.code, ran.out], [75, ""]);
});

test("without arguments the gateway starts as upstream's image starts it", async (t) => {
  const ran = await new World(t).entry();
  assert.deepEqual([ran.code, ran.out], [0, "openclaw gateway --allow-unconfigured\n"]);
});

test("arguments that are no command are passed to OpenClaw", async (t) => {
  const world = new World(t);
  assert.equal((await world.entry(["gateway", "--bind", "lan"])).out, "openclaw gateway --bind lan\n");
  assert.equal((await world.entry(["--version"])).out, "OpenClaw 2026.9.6 (abcdef0)\n");
});

test("an image with openclaw on PATH only runs that", { skip: fs.existsSync("/app/openclaw.mjs") }, async (t) => {
  const world = new World(t);
  const bin = path.join(world.root, "bin");
  fs.mkdirSync(bin);
  fs.writeFileSync(path.join(bin, "openclaw"), "#!/bin/sh\necho \"wrapped $*\"\n", { mode: 0o755 });
  fs.rmSync(path.join(world.image, "openclaw.mjs"));
  const ran = await world.entry(["gateway"], { PATH: `${bin}:${path.dirname(process.execPath)}:/usr/bin:/bin` });
  assert.equal(ran.out, "wrapped gateway\n");
});

test("an image without node runs its command and says what it lacks", async (t) => {
  const world = new World(t);
  world.stage(world.pending("ann"));
  const bin = path.join(world.root, "bin");
  fs.mkdirSync(bin);
  for (const tool of ["dirname", "echo"]) fs.symlinkSync(`/usr/bin/${tool}`, path.join(bin, tool));
  const ran = await world.entry(["echo", "started"], { PATH: bin });
  assert.deepEqual([ran.code, ran.out], [0, "started\n"]);
  assert.match(ran.err, /^openclaw-provisioner: no node in this image/);
});

test("a stop during the import lets it finish and starts nothing", async (t) => {
  const world = new World(t);
  world.stage(world.pending("ann"));
  const child = world.start(["/bin/sh", path.join(world.state, ".provisioner/entry.sh"), "echo", "started"], { FAKE_DOCTOR: "slow" });
  const calls = path.join(world.state, "calls");
  while (!fs.existsSync(calls)) await new Promise((resolve) => setTimeout(resolve, 20));
  child.kill("SIGTERM");
  const ran = await ended(child);
  assert.deepEqual([ran.code, ran.out, world.order().imported_by], [143, "", "2026.9.6"]);
});
