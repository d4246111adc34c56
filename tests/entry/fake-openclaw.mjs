// A fake of a release's CLI, as far as the import uses it: it behaves as 2026.6.35 – 9.6 at their worst. A test copies
// it to `<image>/openclaw.mjs`. FAKE_DOCTOR selects failures.

import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";

const state = process.env.FAKE_STATE;
const agent = path.join(state, "agents/main/agent");
const file = path.join(agent, "auth-profiles.json");
const database = path.join(state, "state/openclaw.sqlite");
const elsewhere = path.join(state, "state/store.json");
const sqlite = process.env.FAKE_STORE === "unknown" ? null : await import("node:sqlite").catch(() => null);
const [, , ...args] = process.argv;
const mishap = process.env.FAKE_DOCTOR ?? "";

fs.appendFileSync(path.join(state, "calls"), `${args.join(" ")}\n`);

function open() {
  fs.mkdirSync(path.dirname(database), { recursive: true });
  const db = new sqlite.DatabaseSync(database);
  db.exec(`PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS config_machine_state (state_key TEXT PRIMARY KEY, value_json TEXT, updated_at_ms INTEGER);
    CREATE TABLE IF NOT EXISTS migration_sources (source_key TEXT PRIMARY KEY, status TEXT, report_json TEXT);`);
  return db;
}

function load() {
  if (!sqlite) return fs.existsSync(elsewhere) ? JSON.parse(fs.readFileSync(elsewhere, "utf8")) : { profiles: {}, seen: {} };
  const db = open();
  const row = db.prepare("SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'").get();
  const seen = db.prepare("SELECT source_key, report_json FROM migration_sources").all();
  db.close();
  return { ...(row ? JSON.parse(row.value_json) : { profiles: {} }), seen: Object.fromEntries(seen.map((s) => [s.source_key, s.report_json])) };
}

function save({ seen, ...store }, unfinished = false) {
  if (!sqlite) {
    fs.mkdirSync(path.dirname(database), { recursive: true });
    fs.writeFileSync(database, "");
    fs.writeFileSync(elsewhere, JSON.stringify({ ...store, seen }));
    return;
  }
  const db = open();
  db.prepare("INSERT OR REPLACE INTO config_machine_state VALUES ('authProfiles.store', ?, 1)").run(JSON.stringify(store));
  for (const [key, report] of Object.entries(seen)) {
    db.prepare("INSERT OR REPLACE INTO migration_sources VALUES (?, ?, ?)").run(key, unfinished ? "imported" : "completed", report);
  }
  db.close();
}

/** Kills the import and everything in the "container", as Fargate does after the stop timeout. */
function dieHere(point) {
  if (mishap !== `killed ${point}`) return;
  process.kill(process.ppid, "SIGKILL");
  process.kill(process.pid, "SIGKILL");
}

function doctor() {
  if (process.env.OPENCLAW_SERVICE_REPAIR_POLICY !== "external") return 1;
  dieHere("before");
  if (mishap === "slow") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  if (mishap === "waits for a lease" && !fs.existsSync(path.join(state, "lease"))) {
    fs.writeFileSync(path.join(state, "lease"), "");
    console.log("- deferred: maintenance\n  lease core:maintenance/global is held by\n  someone");
    return 1;
  }
  if (mishap === "fails") {
    console.log("cannot do that");
    return 3;
  }
  const store = load();
  if (mishap === "leaves the file") return 0;
  if (mishap === "loses profiles") store.profiles = {};
  const text = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : null;
  if (mishap === "talks") console.log(`│  found ${text} │`);
  const digest = text && createHash("sha256").update(text).digest("hex");
  const again = digest in store.seen;
  const incoming = text && !again ? JSON.parse(text).profiles : {};
  // An existing profile is never overwritten.
  store.profiles = { ...incoming, ...store.profiles };
  for (const profile of Object.values(store.profiles)) {
    if (profile.type !== "oauth" || profile.expires > Date.now()) continue;
    const used = path.join(state, "spent");
    const spent = fs.existsSync(used) ? fs.readFileSync(used, "utf8").split("\n") : [];
    if (process.env.FAKE_NETWORK !== "up" || spent.includes(profile.refresh)) {
      profile.refresh = "";
      profile.expires = 1;
      continue;
    }
    fs.appendFileSync(used, `${profile.refresh}\n`);
    Object.assign(profile, { access: `${profile.access}.next`, refresh: `${profile.refresh}.next`, expires: Date.now() + 1e9 });
  }
  const archive = `${file}.migrated-2026-11-21T00-00-00Z-${digest?.slice(0, 8)}`;
  if (text && !again) store.seen[digest] = JSON.stringify({ archivePath: archive });
  save(store, true);
  dieHere("after the import");
  if (text) fs.renameSync(file, archive);
  dieHere("after archiving");
  if (mishap === "leaves its account open") return 0;
  save(store);
  if (mishap.startsWith("new sign-in meanwhile ")) {
    const order = path.join(state, ".provisioner/sign-in.json");
    const next = mishap.slice("new sign-in meanwhile ".length);
    if (fs.existsSync(next)) fs.renameSync(next, order);
  }
  return 0;
}

function logout(id) {
  const store = load();
  if (!store.profiles[id]) {
    console.error(`Auth profile "${id}" not found for agent "main".`);
    return 1;
  }
  delete store.profiles[id];
  save(store);
  return 0;
}

if (args[0] === "--version") console.log(`OpenClaw ${process.env.FAKE_VERSION} (abcdef0)`);
else if (args.join(" ") === "doctor --fix --non-interactive") process.exitCode = doctor();
else if (args.slice(0, 3).join(" ") === "models auth logout") process.exitCode = logout(args[3]);
else console.log(`openclaw ${args.join(" ")}`);
