import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { profile, sqlite, World } from "./world.mjs";

const DOCTOR = "doctor --fix --non-interactive";
const GET = "GET https://auth.openai.com/oauth/token";
const HOUR_AGO = Date.now() - 3_600_000;

async function imported(t, name = "ann", version) {
  const world = new World(t, version);
  world.stage(world.pending(name));
  assert.deepEqual([(await world.import()).code, world.stored()["openai:default"].access], [0, `access-of-${name}`]);
  world.calls();
  return world;
}

test("a pending sign-in is imported, and a receipt without a token is left", async (t) => {
  const world = new World(t);
  world.stage(world.pending("ann"));
  const ran = await world.import();
  assert.equal(ran.code, 0, ran.err);
  assert.equal(world.stored()["openai:default"].refresh, "refresh-of-ann");
  const { imported_at: at, ...receipt } = world.order();
  assert.deepEqual(receipt, { version: 1, sign_in: { account: "hash" }, profile_id: "openai:default", imported_by: "2026.9.6" });
  assert.match(at, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  assert.equal(fs.statSync(world.signIn).mode & 0o777, 0o600);
  assert.deepEqual(world.holders("refresh-of-ann").map((name) => name.split(path.sep)[0]).filter((name) => name !== "state"), []);
  assert.deepEqual(world.calls(), [DOCTOR]);
  assert.match(ran.err, /^(openclaw-provisioner: .*\n)+$/);
});

test("a restart after it starts neither the CLI nor a connection", async (t) => {
  const world = await imported(t);
  const before = JSON.stringify(world.order());
  assert.deepEqual(await world.import({ FAKE_NETWORK: "dns" }), { code: 0, signal: null, out: "", err: "" });
  assert.deepEqual(world.calls(), []);
  assert.equal(JSON.stringify(world.order()), before);
});

test("without staged sign-in or old state there is nothing to do, with any release", async (t) => {
  for (const version of ["2026.4.7", "2026.9.6"]) {
    const world = new World(t, version);
    assert.deepEqual([(await world.import({ FAKE_NETWORK: "dns" })).code, world.calls()], [0, []]);
  }
});

test("a new sign-in replaces the store's, whose token is then gone everywhere", async (t) => {
  const world = await imported(t);
  world.stage(world.pending("cleo"));
  const ran = await world.import();
  assert.equal(ran.code, 0, ran.err);
  assert.equal(world.stored()["openai:default"].refresh, "refresh-of-cleo");
  assert.deepEqual(world.holders("refresh-of-ann"), []);
});

test("the same sign-in is imported again after a sign-out", async (t) => {
  const world = await imported(t);
  world.stage({ version: 1, sign_out: true, profile_id: "openai:default" });
  assert.equal((await world.import()).code, 0);
  assert.deepEqual([world.stored(), world.order(), world.holders("refresh-of-ann")], [{}, null, []]);
  world.stage(world.pending("ann"));
  assert.equal((await world.import()).code, 0);
  assert.equal(world.stored()["openai:default"].refresh, "refresh-of-ann");
});

test("other providers' profiles are kept, and the same sign-in's older name is dropped", async (t) => {
  const world = new World(t);
  const key = { type: "api_key", provider: "anthropic", key: "key-of-the-user" };
  const oauthRef = { source: "openclaw-credentials", provider: "openai-codex", id: "0123abcd" };
  world.stageProfiles({ "anthropic:default": key, "openai-codex:default": { type: "oauth", provider: "openai-codex", oauthRef } });
  const sidecar = path.join(world.state, "credentials/auth-profiles/0123abcd.json");
  fs.mkdirSync(path.dirname(sidecar), { recursive: true });
  fs.writeFileSync(sidecar, "{}");
  world.stage(world.pending("ann"));
  assert.equal((await world.import()).code, 0);
  assert.deepEqual(Object.keys(world.stored()).sort(), ["anthropic:default", "openai:default"]);
  assert.equal(fs.existsSync(sidecar), false);
});

test("a file that is not JSON does not prevent the import of a staged sign-in", async (t) => {
  const world = new World(t);
  fs.writeFileSync(world.profiles, "{");
  world.stage(world.pending("ann"));
  assert.equal((await world.import()).code, 0);
  assert.equal(world.stored()["openai:default"].refresh, "refresh-of-ann");
});

test("old state is imported without a staged sign-in, and migrated by the next release", async (t) => {
  const world = new World(t, "2026.7.35");
  world.stageProfiles({ "openai-codex:default": profile("ann") });
  assert.equal((await world.import()).code, 0);
  assert.deepEqual([Object.keys(world.stored()), world.calls()], [["openai-codex:default"], [GET, DOCTOR]]);
  assert.deepEqual([(await world.import()).code, world.calls()], [0, []]);
  world.release("2026.8.2");
  assert.deepEqual([(await world.import()).code, world.calls()], [0, [GET, DOCTOR]]);
  assert.deepEqual([(await world.import()).code, world.calls()], [0, []]);
});

test("a release other than the receipt's migrates, with egress, and is in the receipt", async (t) => {
  const world = await imported(t, "ann", "2026.8.2");
  world.release("2026.9.6");
  const without = await world.import({ FAKE_NETWORK: "dns" });
  assert.deepEqual([without.code, world.order().imported_by, world.calls()], [75, "2026.8.2", [GET, GET, GET]]);
  assert.equal((await world.import()).code, 0);
  assert.deepEqual([world.order().imported_by, world.order().sign_in, world.calls()], ["2026.9.6", { account: "hash" }, [GET, DOCTOR]]);
});

test("a migration that loses the sign-in fails", { skip: !sqlite && "needs node:sqlite" }, async (t) => {
  const world = await imported(t, "ann", "2026.8.2");
  world.release("2026.9.6");
  const ran = await world.import({ FAKE_DOCTOR: "loses profiles" });
  assert.deepEqual([ran.code, world.order().imported_by], [70, "2026.8.2"]);
});

test("an API key that an older release left needs no egress", async (t) => {
  const world = new World(t);
  world.stageProfiles({ "anthropic:default": { type: "api_key", provider: "anthropic", key: "key-of-the-user" } });
  assert.deepEqual([(await world.import({ FAKE_NETWORK: "dns" })).code, world.calls()], [0, [DOCTOR]]);
});

test("without egress doctor does not get an expired sign-in, and the reason is named", async (t) => {
  const world = new World(t);
  world.stage(world.pending("ben", { expires: HOUR_AGO }));
  const before = fs.readFileSync(world.signIn, "utf8");
  for (const [network, words] of [["dns", /DNS, ENOTFOUND/], ["tls", /TLS failed/], ["refused", /connection failed \(ECONNREFUSED\)/],
    ["silent", /no answer within 10 s/], ["challenge", /Cloudflare .* challenge/]]) {
    const ran = await world.import({ FAKE_NETWORK: network });
    assert.equal(ran.code, 75);
    assert.match(ran.err, words);
    assert.deepEqual(world.calls(), [GET, GET, GET]);
    assert.deepEqual([fs.readFileSync(world.signIn, "utf8"), fs.existsSync(world.profiles)], [before, false]);
  }
});

test("any answer proves egress, also a 403 that is no challenge", async (t) => {
  const world = new World(t);
  world.stage(world.pending("ann", { expires: Date.now() + 60_000 }));
  assert.deepEqual([(await world.import({ FAKE_NETWORK: "forbidden" })).code, world.calls()], [0, [GET, DOCTOR]]);
});

test("another refreshable sign-in in the store needs egress, too", { skip: !sqlite && "needs node:sqlite" }, async (t) => {
  const world = new World(t);
  world.stageProfiles({ "other:default": { ...profile("dan"), provider: "other" } });
  await world.import();
  world.calls();
  world.stage(world.pending("ann"));
  assert.deepEqual([(await world.import({ FAKE_NETWORK: "dns" })).code, world.calls()], [75, [GET, GET, GET]]);
});

test("a failing doctor fails the start, and everything can be repeated", async (t) => {
  for (const mishap of ["fails", "leaves the file"]) {
    const world = new World(t);
    world.stage(world.pending("ann"));
    const ran = await world.import({ FAKE_DOCTOR: mishap });
    assert.deepEqual([ran.code, Boolean(world.order().profile)], [70, true]);
    assert.match(ran.err, mishap === "fails" ? /ended with 3/ : /did not import agents\/main\/agent\/auth-profiles.json/);
    assert.equal((await world.import()).code, 0);
    assert.equal(world.stored()["openai:default"].refresh, "refresh-of-ann");
  }
});

test("a doctor that finds the lease of a killed one is called again after the lease", async (t) => {
  const world = new World(t);
  world.stage(world.pending("ann"));
  const ran = await world.import({ FAKE_DOCTOR: "waits for a lease" });
  assert.deepEqual([ran.code, world.calls()], [0, [DOCTOR, DOCTOR]]);
  assert.match(ran.err, /waiting for its lease/);
});

test("no token is printed, although doctor prints them", async (t) => {
  const world = new World(t);
  world.stage(world.pending("ann"));
  const { err } = await world.import({ FAKE_DOCTOR: "talks" });
  assert.match(err, /doctor: "refresh": "\[secret\]"/);
  assert.doesNotMatch(err, /(access|refresh)-of/);
});

test("a sign-in that is staged during the import is imported next", async (t) => {
  const world = new World(t);
  world.stage(world.pending("ann"));
  const next = path.join(world.root, "next.json");
  fs.writeFileSync(next, JSON.stringify(world.pending("cleo")));
  const ran = await world.import({ FAKE_DOCTOR: `new sign-in meanwhile ${next}` });
  assert.equal(ran.code, 0, ran.err);
  assert.deepEqual([world.stored()["openai:default"].refresh, world.order().imported_by], ["refresh-of-cleo", "2026.9.6"]);
  assert.match(ran.err, /beginning again/);
});

test("a copy that doctor has not finished with is kept", { skip: !sqlite && "needs node:sqlite" }, async (t) => {
  const world = new World(t);
  world.stage(world.pending("ann"));
  const ran = await world.import({ FAKE_DOCTOR: "leaves its account open" });
  assert.equal(ran.code, 0);
  assert.match(ran.err, /kept agents\/main\/agent\/auth-profiles.json.migrated-/);
});

test("a release before 2026.6.5 refuses a staged sign-in and says what to do", async (t) => {
  for (const [version, code] of [["2026.6.1", 78], ["2026.6.5", 0]]) {
    const world = new World(t, version);
    world.stage(world.pending("ann"));
    const ran = await world.import();
    assert.equal(ran.code, code);
    if (code) assert.match(ran.err, /staged for OpenClaw 2026\.6\.5 or later.*runs 2026\.6\.1.*OPENCLAW_VERSION/);
    assert.equal(Boolean(world.order().profile), code === 78);
  }
});

test("going back before 2026.6.5 starts, and says that the sign-in stays behind", async (t) => {
  const world = await imported(t);
  world.release("2026.5.7");
  const ran = await world.import();
  assert.equal(ran.code, 0);
  assert.match(ran.err, /OpenClaw 2026\.9\.6 keeps the sign-in where 2026\.5\.7 does not look/);
});

test("a release before 2026.6.5 is signed out in its file", async (t) => {
  const world = new World(t, "2026.5.7");
  world.stageProfiles({ "openai-codex:default": profile("ann"), "anthropic:default": { type: "api_key", key: "key-of-the-user" } });
  world.stage({ version: 1, sign_out: true, profile_id: "openai-codex:default" });
  assert.deepEqual([(await world.import()).code, world.order(), world.calls()], [0, null, []]);
  assert.deepEqual(Object.keys(JSON.parse(fs.readFileSync(world.profiles, "utf8")).profiles), ["anthropic:default"]);
});

test("signing out also drops what was not imported yet, and imports the rest", async (t) => {
  const world = new World(t);
  world.stageProfiles({ "openai-codex:default": profile("ann"), "anthropic:default": { type: "api_key", key: "key-of-the-user" } });
  world.stage({ version: 1, sign_out: true, profile_id: "openai:default" });
  assert.equal((await world.import()).code, 0);
  assert.deepEqual([Object.keys(world.stored()), world.order(), world.holders("refresh-of-ann")], [["anthropic:default"], null, []]);
});

test("a store that is not known is emptied by the release's own logout", async (t) => {
  const world = new World(t);
  world.environment.FAKE_STORE = "unknown";
  for (const name of ["ann", "cleo"]) {
    world.stage(world.pending(name));
    const ran = await world.import();
    assert.equal(ran.code, 0, ran.err);
    assert.match(ran.err, /not verified/);
    assert.equal(world.stored()["openai:default"].refresh, `refresh-of-${name}`);
  }
});

test("a sign-in after a start without one calls logout only on releases that have it", async (t) => {
  for (const [version, calls] of [["2026.7.35", [GET, DOCTOR]], ["2026.8.1", [GET, "models auth logout openai:default --yes", DOCTOR]]]) {
    const world = new World(t, version);
    fs.mkdirSync(path.join(world.state, "state"));
    fs.writeFileSync(path.join(world.state, "state/openclaw.sqlite"), "");
    world.stage(world.pending("ann"));
    assert.equal((await world.import()).code, 0);
    assert.deepEqual(world.calls(), calls);
  }
});

test("sign-in.json has to be a valid file of a known version", async (t) => {
  const world = new World(t);
  const pending = world.pending("ann");
  for (const [text, words] of [["{", /no JSON/], ["null", /version undefined/], [{ ...pending, version: 2 }, /version 2/],
    [{ ...pending, profile_id: "x" }, /profile_id/], [{ ...pending, profile: { access: 1 } }, /lacks/]]) {
    fs.writeFileSync(world.signIn, typeof text === "string" ? text : JSON.stringify(text));
    const ran = await world.import();
    assert.equal(ran.code, 65);
    assert.match(ran.err, words);
  }
  fs.rmSync(world.signIn);
  fs.writeFileSync(path.join(world.root, "elsewhere"), JSON.stringify(pending));
  fs.symlinkSync(path.join(world.root, "elsewhere"), world.signIn);
  const ran = await world.import();
  assert.equal(ran.code, 65);
  assert.match(ran.err, /symlink/);
  assert.deepEqual(world.calls(), []);
});

test("an image without OpenClaw is accepted", { skip: fs.existsSync("/app/openclaw.mjs") }, async (t) => {
  const world = new World(t);
  fs.rmSync(path.join(world.image, "openclaw.mjs"));
  world.stage(world.pending("ann"));
  const ran = await world.import({ PATH: "/nonexistent" });
  assert.equal(ran.code, 0);
  assert.match(ran.err, /no OpenClaw in this image/);
});

test("a wrapper on PATH is asked for its release", async (t) => {
  const world = new World(t);
  const bin = path.join(world.root, "bin");
  fs.mkdirSync(bin);
  fs.writeFileSync(path.join(bin, "openclaw"), `#!/bin/sh\nexec '${process.execPath}' '${world.image}/openclaw.mjs' "$@"\n`, { mode: 0o755 });
  world.stage(world.pending("ann"));
  assert.equal((await world.import({ PATH: `${bin}:/usr/bin:/bin` })).code, 0);
  assert.deepEqual([world.order().imported_by, world.calls()], ["2026.9.6", ["--version", DOCTOR]]);
});

/** Checks that after a kill at any moment the next start ends as if nothing had happened. */
async function settles(world, name) {
  const ran = await world.import();
  assert.equal(ran.code, 0, ran.err);
  const stored = world.stored()["openai:default"];
  assert.ok(stored.refresh.startsWith(`refresh-of-${name}`), `the store has ${stored.refresh}`);
  assert.equal(world.order().imported_by, "2026.9.6");
  assert.equal(world.order().profile, undefined);
  assert.deepEqual(world.holders(`refresh-of-${name}`).filter((file) => !file.startsWith("state")), []);
  assert.deepEqual(fs.readdirSync(path.dirname(world.signIn)).sort(), ["entry.sh", "import.mjs", "migrated-by", "sign-in.json"]);
  world.calls();
  assert.deepEqual([(await world.import()).code, world.calls()], [0, []]);
}

for (const [kind, options] of [["fresh", {}], ["one whose access token is over", { expires: HOUR_AGO }]]) {
  test(`an import killed at any step has the same result after a repeat: ${kind}`, async (t) => {
    for (let at = 0; ; at += 1) {
      const world = await imported(t);
      world.stage(world.pending("ben", options));
      const ran = await world.import({ KILL_AT: String(at) });
      await settles(world, "ben");
      if (ran.signal === null) {
        assert.ok(at > 8, `only ${at} steps`);
        return;
      }
    }
  });

  for (const point of ["before", "after the import", "after archiving"]) {
    test(`a doctor killed ${point} has the same result after a repeat: ${kind}`, async (t) => {
      const world = await imported(t);
      world.stage(world.pending("ben", options));
      assert.equal((await world.import({ FAKE_DOCTOR: `killed ${point}` })).signal, "SIGKILL");
      await settles(world, "ben");
    });
  }
}
