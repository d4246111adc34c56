import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

import { profile, sqlite, World } from "./world.mjs";

const needs = { skip: !sqlite && "needs node:sqlite" };
const fixture = fileURLToPath(new URL("../fixtures/identities.json", import.meta.url));

function jwt(claims) {
  return ["{}", JSON.stringify(claims), "s"].map((part) => Buffer.from(part).toString("base64url")).join(".");
}

/** A profile whose tokens have these claims about account and person. */
function of(name, { account_ids: accounts = [], account_user_id, user_id, subject, email }, iat = 1_000) {
  const [written, claimed] = accounts;
  const auth = { chatgpt_account_id: claimed, chatgpt_account_user_id: account_user_id, chatgpt_user_id: user_id };
  const access = jwt({ iat, jti: name, sub: subject, "https://api.openai.com/auth": auth });
  return { ...profile(name), access, accountId: written, email };
}

function pending(world, name, identity, iat) {
  return { ...world.pending(name), profile: of(name, identity, iat) };
}

function asides(world) {
  const directory = path.join(world.state, ".provisioner/aside");
  const names = fs.existsSync(directory) ? fs.readdirSync(directory) : [];
  return names.map((name) => Object.values(JSON.parse(fs.readFileSync(path.join(directory, name), "utf8")).profiles)[0].refresh);
}

for (const [at, { a, b, same }] of JSON.parse(fs.readFileSync(fixture, "utf8")).cases.entries()) {
  test(`the owner of a stored sign-in, case ${at + 1}`, needs, async (t) => {
    const world = new World(t);
    world.stage(pending(world, "ann", a, 1_000));
    assert.equal((await world.import()).code, 0);
    world.stage(pending(world, "ben", b, 2_000));
    const ran = await world.import();
    assert.equal(ran.code, 0, ran.err);
    assert.equal(world.stored()["openai:default"].refresh, "refresh-of-ben");
    assert.deepEqual(asides(world), same ? [] : ["refresh-of-ann"]);
    assert.doesNotMatch(ran.err, /refresh-of/);
  });
}

test("a fresher sign-in of the account stays in the store, except with force", needs, async (t) => {
  for (const force of [undefined, true]) {
    const world = new World(t);
    const team = { account_ids: ["team"], user_id: "u1" };
    world.stage(pending(world, "rotated", team, 3_000));
    assert.equal((await world.import()).code, 0);
    world.stage({ ...pending(world, "older", team, 2_000), force });
    const ran = await world.import();
    assert.equal(ran.code, 0, ran.err);
    const order = world.order();
    assert.equal(world.stored()["openai:default"].refresh, force ? "refresh-of-older" : "refresh-of-rotated");
    assert.deepEqual([order.imported_by, order.profile], ["2026.9.6", undefined]);
    if (!force) assert.deepEqual([order.sign_in.issued_at, order.sign_in.identity.user_id], ["1970-01-01T00:50:00.000Z", "u1"]);
    assert.deepEqual(asides(world), []);
    world.calls();
    assert.deepEqual([(await world.import()).code, world.calls()], [0, []]);
  }
});

test("profiles of other accounts are imported too, and kept if ours takes their name", needs, async (t) => {
  const world = new World(t);
  world.stageProfiles({
    "openai-codex:default": of("home", { account_ids: ["home"] }), "openai-codex:work": of("work", { account_ids: ["work"] }),
  });
  world.stage(pending(world, "ann", { account_ids: ["acc"] }));
  const ran = await world.import();
  assert.equal(ran.code, 0, ran.err);
  assert.deepEqual(Object.keys(world.stored()).sort(), ["openai-codex:work", "openai:default"]);
  assert.deepEqual(asides(world), ["refresh-of-home"]);
  assert.match(ran.err, /kept at \.provisioner\/aside\/[0-9a-f]{12}\.json/);
});

test("a profile with another token than the store's is kept, unless it is older", needs, async (t) => {
  const world = new World(t);
  const work = { account_ids: ["work"] };
  world.stageProfiles({ "openai:work": of("first", work, 1_000) });
  assert.equal((await world.import()).code, 0);
  world.stageProfiles({ "openai:work": of("later", work, 2_000) });
  assert.equal((await world.import()).code, 0);
  assert.deepEqual([world.stored()["openai:work"].refresh, asides(world)], ["refresh-of-first", ["refresh-of-later"]]);
  world.stageProfiles({ "openai:work": of("elder", work, 500) });
  assert.equal((await world.import()).code, 0);
  assert.deepEqual(asides(world), ["refresh-of-later"]);
});

test("a profile names the account that its token claims before anything may refresh it", needs, async (t) => {
  const world = new World(t);
  const unlike = { account_ids: ["org-written", "claimed"] };
  world.stageProfiles({ "openai-codex:work": of("work", unlike), "anthropic:default": { type: "api_key", provider: "anthropic", key: "k" } });
  world.stage(pending(world, "ann", unlike));
  const accounts = () => Object.fromEntries(Object.entries(world.stored()).map(([id, { accountId }]) => [id, accountId]));
  const expected = { "openai:default": "claimed", "openai-codex:work": "claimed", "anthropic:default": undefined };
  assert.equal((await world.import()).code, 0);
  assert.deepEqual(accounts(), expected);
  // As an earlier provisioner imported it, both with the same release and with a later one.
  for (const release of ["2026.9.6", "2026.9.7"]) {
    world.release(release);
    const database = new sqlite.DatabaseSync(path.join(world.state, "state/openclaw.sqlite"));
    database.exec("UPDATE config_machine_state SET value_json = replace(value_json, '\"accountId\":\"claimed\"', '\"accountId\":\"org-written\"')");
    database.close();
    assert.equal(accounts()["openai:default"], "org-written");
    assert.equal((await world.import()).code, 0);
    assert.deepEqual(accounts(), expected);
  }
});

test("a gateway restarts even if the store cannot be read", needs, async (t) => {
  const world = new World(t);
  world.stage(pending(world, "ann", { account_ids: ["acc"] }));
  assert.equal((await world.import()).code, 0);
  fs.writeFileSync(path.join(world.state, "state/openclaw.sqlite"), "no database, but longer than the header of one".repeat(9));
  const ran = await world.import();
  assert.deepEqual([ran.code, ran.err.split("\n").length], [0, 2], ran.err);
});

test("a failure of the former sign-in does not delay the new one, under any name", needs, async (t) => {
  const world = new World(t);
  world.stage(pending(world, "ann", { account_ids: ["acc"] }));
  assert.equal((await world.import()).code, 0);
  const failed = { errorCount: 4, disabledUntil: 4102444800000 };
  const usage = { version: 1, usageStats: { "openai:default": failed, "openai-codex:default": failed, "openai:work": failed } };
  const database = () => new sqlite.DatabaseSync(path.join(world.state, "state/openclaw.sqlite"));
  const before = database();
  before.prepare("INSERT INTO config_machine_state VALUES ('authProfiles.state', ?, 1)").run(JSON.stringify(usage));
  before.close();
  world.stage(pending(world, "ben", { account_ids: ["acc"] }));
  assert.equal((await world.import()).code, 0);
  const after = database();
  const { value_json: text } = after.prepare("SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.state'").get();
  after.close();
  assert.deepEqual(JSON.parse(text).usageStats, { "openai:work": failed });
  // Also if nothing is staged, and only a file is left.
  const elder = database();
  const left = JSON.stringify({ ...usage, usageStats: { "openai:default": failed, "openai-codex:default": failed } });
  elder.prepare("UPDATE config_machine_state SET value_json = ? WHERE state_key = 'authProfiles.state'").run(left);
  elder.close();
  world.stageProfiles({ "openai-codex:work": of("work", { account_ids: ["work"] }) });
  assert.equal((await world.import()).code, 0);
  const last = database();
  const { value_json: now } = last.prepare("SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.state'").get();
  last.close();
  assert.deepEqual(JSON.parse(now).usageStats, { "openai:default": failed });
});

test("an API key with the sign-in's id gets another id, and stays after a sign-out", needs, async (t) => {
  const world = new World(t);
  const key = (word) => ({ type: "api_key", provider: "openai", key: `key-of-${word}` });
  const keys = () => Object.fromEntries(Object.entries(world.stored()).map(([id, one]) => [id, one.key ?? one.refresh]));
  // A user's key, only in the store.
  world.stageProfiles({ "openai:default": key("store") });
  assert.equal((await world.import()).code, 0);
  assert.deepEqual(keys(), { "openai:default": "key-of-store" });
  world.stage({ version: 1, sign_out: true, profile_id: "openai:default" });
  assert.equal((await world.import()).code, 0);
  assert.deepEqual(keys(), { "openai:default": "key-of-store" });
  // And another key in the file.
  world.stageProfiles({ "openai:default": key("file") });
  world.stage(pending(world, "ann", { account_ids: ["acc"] }));
  const ran = await world.import();
  assert.equal(ran.code, 0, ran.err);
  assert.doesNotMatch(ran.err, /key-of/);
  assert.equal(keys()["openai:default"], "refresh-of-ann");
  const kept = [...Object.values(keys()), ...asideKeys(world)];
  assert.deepEqual(kept.filter((word) => word.startsWith("key-of")).sort(), ["key-of-file", "key-of-store"]);
  world.stage(pending(world, "ben", { account_ids: ["acc"] }));
  assert.equal((await world.import()).code, 0);
  assert.deepEqual([keys()["openai:default"], keys()["openai:kept"]], ["refresh-of-ben", "key-of-store"]);
});

function asideKeys(world) {
  const directory = path.join(world.state, ".provisioner/aside");
  const names = fs.existsSync(directory) ? fs.readdirSync(directory) : [];
  return names.map((name) => Object.values(JSON.parse(fs.readFileSync(path.join(directory, name), "utf8")).profiles)[0].key);
}
