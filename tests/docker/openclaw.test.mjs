// Tests the scripts of infra/openclaw without OpenClaw, npm and an image: a build fails when it should.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";

const SCRIPTS = path.resolve(import.meta.dirname ?? ".", "../../infra/openclaw");

/** A directory like OpenClaw's in the image; `gateway` is the source of its command. */
async function world(t, gateway = "") {
  const app = fs.mkdtempSync(path.join(os.tmpdir(), "openclaw-image-"));
  t.after(() => fs.rmSync(app, { recursive: true }));
  fs.mkdirSync(path.join(app, "dist/extensions"), { recursive: true });
  fs.writeFileSync(path.join(app, "openclaw.mjs"), gateway);
  const listener = net.createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => listener.once("listening", resolve));
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  const run = (script, args, env = {}) => {
    const ran = spawnSync("sh", [path.join(SCRIPTS, script), ...args], {
      cwd: app, encoding: "utf8", timeout: 60_000,
      env: { ...process.env, TMPDIR: app, OPENCLAW_GATEWAY_PORT: String(port), ...env },
    });
    return { code: ran.status, said: ran.stdout + ran.stderr };
  };
  return { app, run };
}

const ANSWERS = `
import http from "node:http";
import fs from "node:fs";
console.log("the gateway's own words");
const installs = (name) => fs.mkdirSync(process.env.HOME + "/.openclaw/" + name, { recursive: true });
http.createServer((request, response) => response.end("{}")).listen(process.env.OPENCLAW_GATEWAY_PORT, "127.0.0.1");
`;

test("a release that answers and installs nothing passes, and its gateway is stopped", async (t) => {
  const { app, run } = await world(t, `${ANSWERS} fs.writeFileSync("pid", String(process.pid)); installs("workspace");`);
  const { code, said } = run("first-start.sh", []);
  assert.deepEqual([code, said], [0, "the gateway answers, and has installed nothing\n"]);
  assert.throws(() => process.kill(Number(fs.readFileSync(path.join(app, "pid"), "utf8")), 0), { code: "ESRCH" });
});

for (const place of ["npm/projects", "plugin-runtime-deps", "extensions/a/node_modules"]) {
  test(`a release that installs into ${place} fails`, async (t) => {
    const { run } = await world(t, `${ANSWERS} installs(${JSON.stringify(place)});`);
    const { code, said } = run("first-start.sh", []);
    assert.ok(code === 1 && said.includes("it installed /") && said.includes("the gateway's own words"), said);
  });
}

test("a baked plugin is turned on, and has to load", async (t) => {
  const loads = (status) => `
    if (process.argv[2] === "plugins") console.log(JSON.stringify({ plugin: { id: process.argv[4], status: "${status}" } }));
    else { ${ANSWERS.replaceAll(/^import .*$/gm, "")} fs.cpSync(process.env.HOME + "/.openclaw/openclaw.json", "seen.json"); }`;
  for (const [status, expected] of [["loaded", 0], ["error", 1]]) {
    const { app, run } = await world(t, `import http from "node:http"; import fs from "node:fs"; ${loads(status)}`);
    fs.writeFileSync(path.join(app, "baked-plugins"), "one\ntwo\n");
    const { code, said } = run("first-start.sh", []);
    assert.equal(code, expected, said);
    const { plugins } = JSON.parse(fs.readFileSync(path.join(app, "seen.json")));
    assert.deepEqual(plugins, { entries: { one: { enabled: true }, two: { enabled: true } } });
  }
});

test("a release whose gateway ends or never answers fails", async (t) => {
  const ends = await world(t, "console.log('no way'); process.exit(78);");
  assert.match(ends.run("first-start.sh", []).said, /the gateway ended; it said:\nno way/);
  const silent = await world(t, "setInterval(() => {}, 1000);");
  const { code, said } = silent.run("first-start.sh", ["2"]);
  assert.ok(code === 1 && said.includes("has not answered in time"), said);
});

// A fake npm: `pack` makes a file with these bytes, `install` the directories that the registry's package would make.
const NPM = `#!/bin/sh
case $1 in
pack) printf package >a.tgz && echo a.tgz ;;
install)
    mkdir -p "$3/node_modules/@a/plugin" "$3/node_modules/dependency"
    echo '{"id": "plugin-id"}' >"$3/node_modules/@a/plugin/openclaw.plugin.json" ;;
esac
`;
const SUM = createHash("sha256").update("package").digest("hex");

async function withNpm(t) {
  const { app, run } = await world(t);
  fs.mkdirSync(path.join(app, "bin"));
  fs.writeFileSync(path.join(app, "bin/npm"), NPM, { mode: 0o755 });
  const bake = (...args) => run("bake.sh", args, { PATH: `${app}/bin:${process.env.PATH}` });
  return { bake, baked: () => fs.readdirSync(path.join(app, "dist/extensions")), app };
}

test("a plugin is baked in beside upstream's, with its dependencies beneath it", async (t) => {
  const { bake, baked, app } = await withNpm(t);
  assert.equal(bake("plugins").code, 0);
  assert.equal(bake("plugins", "@a/plugin@1.0.0", SUM).code, 0);
  assert.deepEqual(baked(), ["plugin-id"]);
  assert.equal(fs.readFileSync(path.join(app, "baked-plugins"), "utf8"), "plugin-id\n");
  assert.ok(fs.existsSync(path.join(app, "dist/extensions/plugin-id/node_modules/dependency")));
  const { code, said } = bake("plugins", "@a/plugin@1.0.0", SUM);
  assert.ok(code === 1 && said.includes("baked in already"), said);
});

test("a package that differs from its pin, or has none, is not baked in", async (t) => {
  const { bake, baked } = await withNpm(t);
  for (const [args, words] of [
    [["@a/plugin@1.0.0", SUM.replace(/./g, "0")], "@a/plugin@1.0.0 is not what was pinned"],
    [["@a/plugin@1.0.0"], "write NAME@VERSION SHA256"],
  ]) {
    const { code, said } = bake("plugins", ...args);
    assert.ok(code !== 0 && said.includes(words), said);
  }
  assert.deepEqual(baked(), []);
});
