// Brings OpenClaw's own credential store in line with `sign-in.json`, before the gateway starts (see entry.sh).
//
// From 2026.6.5 on OpenClaw keeps sign-ins in SQLite, and only its `doctor --fix` imports one from a file. This script runs
// in the user's container, as the container's user, because only the release there knows its own store. Plain Node, no
// packages. It can be killed at any moment; the next start then repeats it.
//
// `sign-in.json` is the contract with the provisioner: a pending sign-in (with `profile`), a receipt (`imported_by`), or an
// order to sign out (`sign_out`). Exit codes: 0 go on; 75 no egress, try again later; 78 the release is too old for the
// staged sign-in; 65 sign-in.json makes no sense; 70 the import failed and everything needed to repeat it is still there.

import { spawn } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import fs from "node:fs";
import https from "node:https";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const STATE = path.dirname(HERE);
const SIGN_IN = path.join(HERE, "sign-in.json");
/** The pending sign-in for which an import was begun: a digest, see `importPending`. */
const BEGUN = path.join(HERE, "import-begun");
/** The release for which doctor last ran. The receipt has it too, but an upgraded user may have no receipt. */
const MIGRATED = path.join(HERE, "migrated-by");
const PROFILES = path.join(STATE, "agents/main/agent/auth-profiles.json");
/** Sign-ins of other accounts that were in the way. The provisioner lists them, and puts them back when they are sent. */
const ASIDE = path.join(HERE, "aside");
/** The ids that the provisioner's own sign-in has had. */
const OURS = ["openai:default", "openai-codex:default"];

const FIRST_RELEASE = [2026, 6, 5];
/** 7.35 has no `models auth logout`, 8.2 has it; the store changed with 8.1. */
const FIRST_WITH_LOGOUT = [2026, 8, 1];
const FRESH_MS = 5 * 60_000;
const DOCTOR_MS = 5 * 60_000;
const CLI_MS = 60_000;
const LEASE_MS = 65_000;
// The path to which a refresh posts; here it is only read. Cloudflare challenges the site's pages by other rules.
const EGRESS_URL = "https://auth.openai.com/oauth/token";
const EGRESS_TRIES = 3;
const EGRESS_MS = 10_000;

// Where releases keep profiles. Seen: 2026.6.35 and 7.35 in each agent's database, 8.2 and 9.6 in the shared one.
const STORES = [
  {
    files: () => agentFiles((name) => name === "openclaw-agent.sqlite"),
    profiles: { table: "auth_profile_store", key: "store_key", id: "primary", json: "store_json", at: "updated_at" },
    state: { table: "auth_profile_state", key: "state_key", id: "primary", json: "state_json", at: "updated_at" },
  },
  {
    files: () => sharedDatabase(),
    profiles: { table: "config_machine_state", key: "state_key", id: "authProfiles.store", json: "value_json", at: "updated_at_ms" },
    state: { table: "config_machine_state", key: "state_key", id: "authProfiles.state", json: "value_json", at: "updated_at_ms" },
  },
];

class Failure extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

// Node's SQLite warns at each start that it is experimental.
process.removeAllListeners("warning");

const secrets = new Set();

function redact(text) {
  let plain = String(text);
  for (const secret of secrets) plain = plain.replaceAll(secret, "[secret]");
  return plain.replace(/\beyJ[\w-]{8,}\.[\w.-]+/g, "[secret]");
}

function say(message) {
  process.stderr.write(`openclaw-provisioner: ${redact(message).replace(/\s*\n\s*/g, " / ")}\n`);
}

async function main() {
  for (let round = 0; round < 5; round += 1) {
    if (await settle()) return;
  }
  throw new Failure(70, "sign-in.json keeps changing");
}

/** Does what the present sign-in.json needs; false if there may be more to do. */
async function settle() {
  const staged = readSignIn();
  const order = staged?.order;
  const pending = Boolean(order?.profile);
  const signOut = order?.sign_out === true;
  const migrated = order?.imported_by ?? readText(MIGRATED);
  const left = fs.existsSync(PROFILES);
  if (!pending) fs.rmSync(BEGUN, { force: true });
  if (!pending && !signOut && !left && !migrated) return true;

  const openclaw = await findOpenClaw();
  if (!openclaw) {
    say("no OpenClaw in this image, so no sign-in is imported");
    return true;
  }
  if (openclaw.older) {
    if (pending) {
      throw new Failure(78, `the sign-in was staged for OpenClaw ${FIRST_RELEASE.join(".")} or later, but this image runs ` +
        `${openclaw.release}: name the release in the base definition, by the image's tag or the variable OPENCLAW_VERSION`);
    }
    if (signOut) await finishSignOut(staged, openclaw);
    else if (migrated) {
      say(`OpenClaw ${migrated} keeps the sign-in where ${openclaw.release} does not look: it takes a new sign-in to go back`);
    }
    return true;
  }
  if (signOut) {
    await removeFromStore(openclaw, order.profile_id);
    await finishSignOut(staged, openclaw);
    // Other profiles that an older release left still have to be imported, and a new sign-in may be there.
    return false;
  }
  if (!pending && !left && migrated === openclaw.release) {
    // There is nothing to import, so no error here may keep the gateway from starting.
    await claimAccounts().catch((error) => say(`the sign-in store was left as it is: ${error.message}`));
    return true;
  }

  const began = Date.now();
  if (pending) await importPending(openclaw, staged);
  else await migrate(openclaw, order?.profile_id);
  await removeCopies();
  await wipeFreeSpace();
  writeFile(MIGRATED, `${openclaw.release}\n`);
  if (order && !writeReceipt(staged, openclaw.release)) {
    say("another sign-in was staged meanwhile, beginning again with it");
    return false;
  }
  fs.rmSync(BEGUN, { force: true });
  say(`${pending ? "the sign-in was imported" : "the sign-in store was brought up to date"} by OpenClaw ${openclaw.release} ` +
    `in ${Math.round((Date.now() - began) / 1000)} s`);
  return true;
}

/** Replaces the store's profile of the same id with the staged one. */
async function importPending(openclaw, { order, digest }) {
  await requireEgress(order);
  await keepConflicting();
  // Doctor never overwrites a profile of the store (2026.6.35, 7.35, 8.2, 9.6), so the old one is removed first. But only
  // once for a pending sign-in: doctor may have exchanged the staged refresh token before it was killed (9.4 and later do),
  // and then the store's profile is the only live one.
  const stored = await storedProfile(order.profile_id);
  if (readText(BEGUN) !== digest && stored && !order.force && isNewer(stored, order)) {
    // The container has rotated it since, or somebody has signed in again: the staged token is spent.
    say("the store has a fresher sign-in of the same account, which stays");
    order.sign_in = summaryOf(stored);
  } else if (readText(BEGUN) !== digest) {
    if (isSignIn(stored) && !isSame(identityOf(stored), orderedIdentity(order))) setAside(order.profile_id, stored);
    await removeFromStore(openclaw, order.profile_id, true);
    writeProfiles(order);
    writeFile(BEGUN, `${digest}\n`);
  } else if (!fs.existsSync(PROFILES) && stored === null) {
    writeProfiles(order);
  }
  // Also if a killed run has imported everything: from 8.1 on doctor records each import, and has to close the record.
  await doctor(openclaw);
  const imported = await storedProfile(order.profile_id);
  if (imported === undefined) say(`the store of OpenClaw ${openclaw.release} is not known here, so the import is not verified`);
  if (imported === null) {
    fs.rmSync(BEGUN, { force: true });
    throw new Failure(70, `openclaw doctor said that it was done, but the store has no profile ${order.profile_id}`);
  }
  await putInFront(order.profile_id);
}

/** Imports what an older release left, or migrates its store. */
async function migrate(openclaw, profileId) {
  await requireEgress();
  await keepConflicting();
  const before = profileId && (await storedProfile(profileId));
  await doctor(openclaw);
  if (before && (await storedProfile(profileId)) === null) {
    throw new Failure(70, `openclaw doctor of ${openclaw.release} lost the profile ${profileId}`);
  }
}

async function doctor(openclaw, again = false) {
  keepConversations(openclaw);
  claimAccountsOfFile();
  await claimAccounts();
  await forgetElderName();
  const said = [];
  const { code, signal, seconds } = await run(openclaw, ["doctor", "--fix", "--non-interactive"], DOCTOR_MS, (line) => {
    // Doctor draws boxes for a terminal.
    const words = line.replace(/[\u2500-\u257f\u25c7]+/g, "").trim();
    if (words) said.push(words);
    if (words) say(`doctor: ${words}`);
  });
  // A doctor that was killed leaves a lease in the database, which 9.6 respects for a minute.
  if (code !== 0 && !again && /\blease .* held by\b/.test(said.join(" "))) {
    say("openclaw doctor was interrupted before, waiting for its lease to end");
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS));
    return doctor(openclaw, true);
  }
  if (code !== 0) {
    throw new Failure(70, `openclaw doctor of ${openclaw.release} ended with ${signal ?? code} after ${seconds} s`);
  }
  if (fs.existsSync(PROFILES)) {
    throw new Failure(70, `openclaw doctor of ${openclaw.release} did not import ${path.relative(STATE, PROFILES)}, ` +
      "see its words above; a new sign-in replaces what cannot be imported");
  }
}

/**
 * Doctor hands every conversation that an older release had with provider `openai-codex` over to the `codex` plugin (seen on
 * 9.6). If the image has no plugin, none of them can go on. Doctor respects a chosen runtime, so this chooses the one that
 * the provisioner configures without the plugin.
 */
function keepConversations(openclaw) {
  if (process.env.OPENCLAW_CODEX_PLUGIN === openclaw.release) return;
  for (const agent of readDirectory(path.join(STATE, "agents"))) {
    const file = path.join(STATE, "agents", agent, "sessions/sessions.json");
    let sessions;
    try {
      sessions = JSON.parse(readText(file) ?? "{}");
    } catch {
      continue;
    }
    const ofCodex = Object.values(sessions ?? {}).filter((session) => (session?.agentRuntimeOverride ?? "auto") === "auto" &&
      [session?.modelProvider, session?.providerOverride].includes("openai-codex"));
    for (const session of ofCodex) session.agentRuntimeOverride = "openclaw";
    if (ofCodex.length > 0) writeFile(file, `${JSON.stringify(sessions, null, 2)}\n`);
  }
}

async function finishSignOut(staged, openclaw) {
  dropFromProfiles(staged.order.profile_id);
  await removeCopies();
  await wipeFreeSpace();
  if (isStill(staged)) fs.rmSync(SIGN_IN);
  say(`signed out of ${staged.order.profile_id} on OpenClaw ${openclaw.release}`);
}

// sign-in.json

function readSignIn() {
  const bytes = readSignInBytes();
  if (bytes === null) return null;
  let order;
  try {
    order = JSON.parse(bytes.toString());
  } catch {
    throw new Failure(65, "sign-in.json is no JSON");
  }
  if (order?.version !== 1) throw new Failure(65, `sign-in.json has version ${order?.version}, this script knows version 1`);
  if (typeof order.profile_id !== "string" || !/^[a-z0-9-]+:\S+$/.test(order.profile_id)) {
    throw new Failure(65, "sign-in.json names no profile_id such as openai:default");
  }
  if (order.profile !== undefined && (typeof order.profile?.access !== "string" || typeof order.profile.refresh !== "string" ||
      typeof order.profile.provider !== "string" || !Number.isFinite(order.profile.expires))) {
    throw new Failure(65, "the profile in sign-in.json lacks access, refresh, provider or expires");
  }
  keepSecret(order.profile);
  const { access = "", refresh = "" } = order.profile ?? {};
  // Only of the tokens: the same sign-in may be staged again while its import is interrupted.
  return { order, bytes, digest: createHash("sha256").update(`${access}\0${refresh}`).digest("hex") };
}

function readSignInBytes() {
  let file;
  try {
    file = fs.openSync(SIGN_IN, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  } catch (error) {
    if (error.code === "ENOENT") return null;
    if (error.code === "ELOOP") throw new Failure(65, "sign-in.json is a symlink, which is not followed");
    throw error;
  }
  try {
    return fs.readFileSync(file);
  } finally {
    fs.closeSync(file);
  }
}

function isStill(staged) {
  const now = readSignInBytes();
  return now !== null && now.equals(staged.bytes);
}

/** False, with nothing written, if the provisioner has replaced sign-in.json meanwhile. */
function writeReceipt(staged, release) {
  const { profile, ...receipt } = staged.order;
  const text = JSON.stringify({ ...receipt, imported_by: release, imported_at: new Date().toISOString() });
  return writeFile(SIGN_IN, `${text}\n`, () => isStill(staged));
}

// auth-profiles.json

function writeProfiles(order) {
  const existing = readProfiles();
  if (existing === undefined) {
    say(`${path.relative(STATE, PROFILES)} could not be read, the staged sign-in replaces it`);
  }
  const profiles = { ...existing?.profiles };
  // The sign-in that this provisioner staged for releases before 2026.6 is the same one under its old id. If both were
  // imported, the old one would be a dead profile that is tried too. Another account's sign-in is not thrown away.
  for (const id of order.profile_id === "openai:default" ? OURS : [order.profile_id]) {
    if (hasTokens(profiles[id]) && isNamed(profiles[id]) && !isSame(identityOf(profiles[id]), orderedIdentity(order))) {
      setAside(id, profiles[id]);
      delete profiles[id];
    }
    if (id === order.profile_id) makeWay(profiles, id);
    dropSignIn(profiles, id);
  }
  fs.mkdirSync(path.dirname(PROFILES), { recursive: true, mode: 0o700 });
  writeFile(PROFILES, `${JSON.stringify({
    ...existing,
    version: existing?.version ?? 1,
    // 8.2 and 9.6 remember each file by its bytes. They move a file that they have seen before aside without importing it.
    staged: randomUUID(),
    profiles: { ...profiles, [order.profile_id]: order.profile },
  }, null, 2)}\n`);
}

/**
 * Doctor never overwrites a profile of the store, and removes the file afterwards. So everything in the file is kept that is
 * not certainly an older token of the same account.
 */
async function keepConflicting() {
  const { found } = await storedProfiles();
  for (const [id, profile] of Object.entries(readProfiles()?.profiles ?? {})) {
    const [, stored] = found.find(([known]) => [id, id.replace(/^openai-codex:/, "openai:")].includes(known)) ?? [];
    if (!stored) continue;
    const isOtherKey = ["key", "token"].some((name) => profile?.[name] && profile[name] !== stored[name]);
    if (!isSignIn(profile) && isOtherKey) setAside(id, profile);
    if (!hasTokens(profile) || stored.refresh === profile.refresh || !isSignIn(stored)) continue;
    // Under our own id it is the staged sign-in, or the one that a killed run has begun to import.
    if (OURS.includes(id) && isSame(identityOf(profile), identityOf(stored))) continue;
    if (!isSame(identityOf(profile), identityOf(stored)) || issuedAt(profile) > issuedAt(stored)) setAside(id, profile);
  }
}

// The owner of a sign-in: the rule of crates/openclaw/src/identity.rs. tests/fixtures/identities.json checks both.

function claimsOf(token) {
  try {
    const [, payload, signature] = String(token).split(".");
    const claims = signature ? JSON.parse(Buffer.from(payload, "base64url").toString()) : null;
    return claims && typeof claims === "object" ? claims : {};
  } catch {
    return {};
  }
}

function identityOf(profile) {
  const claims = claimsOf(profile.access);
  const auth = claims["https://api.openai.com/auth"] ?? {};
  const text = (value) => (typeof value === "string" && value ? value : undefined);
  return {
    account_ids: [...new Set([text(profile.accountId), text(auth.chatgpt_account_id)].filter(Boolean))],
    account_user_id: text(auth.chatgpt_account_user_id),
    user_id: text(auth.chatgpt_user_id) ?? text(auth.user_id),
    subject: text(claims.sub),
    email: text(claims.email) ?? text(claims["https://api.openai.com/profile"]?.email) ?? text(profile.email),
  };
}

/** The identity as the provisioner wrote it, which has seen the id token too. */
function orderedIdentity(order) {
  const known = order.sign_in?.identity;
  return known && Array.isArray(known.account_ids) ? known : identityOf(order.profile);
}

function isSame(a, b) {
  const differ = ["account_user_id", "user_id", "subject", "email"].find((name) => a[name] && b[name]);
  const [one, other] = [a, b].map((identity) => differ && (differ === "email" ? identity.email.toLowerCase() : identity[differ]));
  if (a.account_ids.length === 0 || b.account_ids.length === 0) return Boolean(differ) && one === other;
  return one === other && a.account_ids.some((account) => b.account_ids.includes(account));
}

/**
 * From 2026.9.4 on, if a refreshed token claims another account than the profile names, it is thrown away after it was
 * granted, and the former token is spent by then. Earlier releases wrote the claim over the name.
 */
function withClaimedAccount(profile) {
  if (!isSignIn(profile) || !["openai", "openai-codex"].includes(profile.provider)) return profile;
  const claimed = claimsOf(profile.access)["https://api.openai.com/auth"]?.chatgpt_account_id;
  return typeof claimed === "string" && claimed && claimed !== profile.accountId ? { ...profile, accountId: claimed } : profile;
}

/** The profiles with the accounts that their tokens claim; undefined if nothing changes. */
function claiming(profiles) {
  const claimed = Object.entries(profiles ?? {}).map(([id, profile]) => [id, withClaimedAccount(profile)]);
  return claimed.some(([id, profile]) => profile !== profiles[id]) ? Object.fromEntries(claimed) : undefined;
}

function claimAccountsOfFile() {
  const existing = readProfiles();
  const profiles = claiming(existing?.profiles);
  if (profiles) writeFile(PROFILES, `${JSON.stringify({ ...existing, profiles }, null, 2)}\n`);
}

/** Corrects accounts in the store that an earlier release or provisioner wrote. */
async function claimAccounts() {
  for (const { files, profiles: cell } of STORES) {
    await eachDatabase(files(), cell.table, (database) => {
      const store = readCell(database, cell);
      const profiles = claiming(store?.profiles);
      if (profiles) writeCell(database, cell, { ...store, profiles });
    });
  }
}

/** In seconds; NaN if the token has no time, which compares as neither later nor earlier. */
function issuedAt(profile) {
  return Number(claimsOf(profile?.access).iat ?? NaN);
}

function isNewer(stored, order) {
  return stored.refresh !== order.profile.refresh && isSame(identityOf(stored), orderedIdentity(order)) &&
    issuedAt(stored) > issuedAt(order.profile);
}

/** Whether anything names its owner; 2026.5.12 may leave nothing of one that this provisioner staged. */
function isNamed(profile) {
  return typeof profile.refresh === "string" || Object.values(identityOf(profile)).some((value) => value?.length > 0);
}

/** Whether it is a sign-in, and not an API key of the user's, which may have the very same id. */
function isSignIn(profile) {
  return profile?.type === "oauth";
}

function hasTokens(profile) {
  return isSignIn(profile) && (typeof profile.refresh === "string" || Boolean(profile.oauthRef));
}

function fingerprint(text) {
  return createHash("sha256").update(text).digest("hex").slice(0, 12);
}

function summaryOf(profile) {
  const time = (seconds) => (Number.isFinite(seconds) ? new Date(seconds * 1000).toISOString() : null);
  const identity = identityOf(profile);
  return {
    identity, account_id: identity.account_ids[0] ?? null, email: identity.email ?? null, last_refresh: null,
    issued_at: time(issuedAt(profile)), expires_at: time(Number(claimsOf(profile.access).exp ?? NaN)),
    fingerprint: fingerprint(profile.refresh),
  };
}

/** Keeps a sign-in of another account where no release reads it. */
function setAside(id, profile) {
  const name = `${fingerprint(typeof profile.refresh === "string" ? profile.refresh : JSON.stringify(profile))}.json`;
  fs.mkdirSync(ASIDE, { recursive: true, mode: 0o700 });
  writeFile(path.join(ASIDE, name), `${JSON.stringify({ version: 1, profiles: { [id]: profile } }, null, 2)}\n`);
  const what = isSignIn(profile) ? "a sign-in of another account" : "another key";
  say(`${what} was in the way as ${id}, and is kept at ${path.relative(STATE, path.join(ASIDE, name))}`);
}

/** If something that is no sign-in has this id, gives it another id, as the provisioner does; returns whether it did. */
function makeWay(profiles, id) {
  if (!profiles?.[id] || isSignIn(profiles[id])) return false;
  const [provider] = id.split(":");
  let free = `${provider}:kept`;
  for (let number = 2; profiles[free]; number += 1) free = `${provider}:kept-${number}`;
  profiles[free] = profiles[id];
  delete profiles[id];
  say(`${id} was no sign-in, and is called ${free} now`);
  return true;
}

/** Null if absent, undefined if unreadable. */
function readProfiles() {
  let text;
  try {
    text = fs.readFileSync(PROFILES, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
  try {
    const parsed = JSON.parse(text);
    Object.values(parsed?.profiles ?? {}).forEach(keepSecret);
    return parsed && typeof parsed === "object" && !Array.isArray(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function dropFromProfiles(profileId) {
  const existing = readProfiles();
  if (!existing?.profiles) return;
  const profiles = { ...existing.profiles };
  if (profileId === "openai:default") dropSignIn(profiles, "openai-codex:default");
  dropSignIn(profiles, profileId);
  if (Object.keys(profiles).length === 0) fs.rmSync(PROFILES);
  else writeFile(PROFILES, `${JSON.stringify({ ...existing, profiles }, null, 2)}\n`);
}

/** Removes a sign-in, with the file into which 2026.5.12 encrypted its tokens. */
function dropSignIn(profiles, profileId) {
  if (!isSignIn(profiles[profileId])) return;
  const id = profiles[profileId]?.oauthRef?.id;
  if (typeof id === "string" && /^[\w-]+$/.test(id)) {
    fs.rmSync(path.join(STATE, "credentials/auth-profiles", `${id}.json`), { force: true });
  }
  delete profiles[profileId];
}

/** Removes copies with tokens that an import leaves: `*.bak` on 2026.6 and 7, `*.migrated-*` on 8 and 9 (incident 29). */
async function removeCopies() {
  const needed = await unfinishedArchives();
  for (const file of agentFiles((name) => /^auth-profiles\.json.*(\.bak|\.migrated-.*|\.import-tmp)$/.test(name))) {
    if (needed.some((report) => report.includes(path.basename(file)))) {
      say(`kept ${path.relative(STATE, file)}, which openclaw doctor has not finished with`);
    } else {
      fs.rmSync(file, { force: true });
    }
  }
}

/** From 8.1 on doctor refuses all further imports if the copy of an import that it has not closed is gone. */
async function unfinishedArchives() {
  const reports = [];
  await eachDatabase(sharedDatabase(), "migration_sources", (database) => {
    const rows = database.prepare("SELECT report_json FROM migration_sources WHERE status = 'imported'").all();
    reports.push(...rows.map((row) => String(row.report_json)));
  });
  return reports;
}

function agentFiles(accept) {
  const found = [];
  for (const agent of readDirectory(path.join(STATE, "agents"))) {
    const directory = path.join(STATE, "agents", agent, "agent");
    for (const name of readDirectory(directory)) if (accept(name)) found.push(path.join(directory, name));
  }
  return found;
}

function readDirectory(directory) {
  try {
    return fs.readdirSync(directory);
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return [];
    throw error;
  }
}

// The release's store. It is edited with Node's own SQLite while nothing else runs, because 2026.6.35 and 7.35 have no
// command that removes a profile (`models auth logout` exists on 8.2 and 9.6, and takes seconds).

/** Visits the databases that have the table. */
async function eachDatabase(files, table, visit) {
  const sqlite = await import("node:sqlite").catch(() => null);
  for (const file of sqlite ? files : []) {
    let database;
    try {
      database = new sqlite.DatabaseSync(file);
      database.exec("PRAGMA busy_timeout = 20000");
      const found = database.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").get(table);
      if (found) visit(database);
    } catch (error) {
      throw new Failure(70, `cannot work on ${path.relative(STATE, file)}: ${error.message}`);
    } finally {
      database?.close();
    }
  }
}

function sharedDatabase() {
  const file = path.join(STATE, "state/openclaw.sqlite");
  return fs.existsSync(file) ? [file] : [];
}

function readCell(database, { table, key, id, json }) {
  const row = database.prepare(`SELECT ${json} AS json FROM ${table} WHERE ${key} = ?`).get(id);
  return row ? JSON.parse(row.json) : null;
}

function writeCell(database, { table, key, id, json, at }, value) {
  database.prepare(`UPDATE ${table} SET ${json} = ?, ${at} = ? WHERE ${key} = ?`).run(JSON.stringify(value), Date.now(), id);
}

/** The content of the store; `known` if it is a store of a kind that was seen. */
async function storedProfiles() {
  const found = [];
  let known = false;
  for (const { files, profiles } of STORES) {
    await eachDatabase(files(), profiles.table, (database) => {
      const cell = readCell(database, profiles);
      known ||= cell !== null;
      found.push(...Object.entries(cell?.profiles ?? {}));
    });
  }
  for (const [, profile] of found) keepSecret(profile);
  return { known, found };
}

/** The store's profile; null if it has none, undefined if the kind of this release's store is unknown here. */
async function storedProfile(profileId) {
  const { known, found } = await storedProfiles();
  const match = found.find(([id]) => id === profileId);
  return known ? match?.[1] ?? null : undefined;
}

/** Removes a sign-in. Anything else with its id stays, under another id if the id is needed. */
async function removeFromStore(openclaw, profileId, isNeeded = false) {
  const { known } = await storedProfiles();
  if (!known && openclaw.hasLogout && sharedDatabase().length > 0) return logout(openclaw, profileId);
  for (const { files, profiles, state } of STORES) {
    await eachDatabase(files(), profiles.table, (database) => {
      const cell = readCell(database, profiles);
      const isThere = isSignIn(cell?.profiles?.[profileId]);
      if (isThere) delete cell.profiles[profileId];
      if (isThere || (isNeeded && makeWay(cell?.profiles, profileId))) writeCell(database, profiles, cell);
      // The failures of the old sign-in must not delay the new one.
      const usage = readCell(database, state);
      if (usage?.usageStats?.[profileId]) {
        delete usage.usageStats[profileId];
        writeCell(database, state, usage);
      }
    });
  }
}

/** Removes the failures of a profile under its id before 2026.6: 9.6 keeps them, and then imports no file any more. */
async function forgetElderName() {
  for (const { files, state } of STORES) {
    await eachDatabase(files(), state.table, (database) => {
      const usage = readCell(database, state);
      const elder = OURS.filter((id) => id.startsWith("openai-codex:") && usage?.usageStats?.[id]);
      if (elder.length === 0) return;
      for (const id of elder) delete usage.usageStats[id];
      writeCell(database, state, usage);
    });
  }
}

/** Puts the profile into a chosen order that lacks it; otherwise it would never be used. */
async function putInFront(profileId) {
  for (const { files, state } of STORES) {
    await eachDatabase(files(), state.table, (database) => {
      const cell = readCell(database, state);
      const orders = Object.entries(cell?.order ?? {}).filter(([provider, order]) =>
        ["openai", "openai-codex"].includes(provider.trim().toLowerCase()) && Array.isArray(order) && !order.includes(profileId));
      for (const [provider, order] of orders) cell.order[provider] = [profileId, ...order];
      if (orders.length > 0) {
        writeCell(database, state, cell);
        say(`${profileId} was put in front of an order of profiles that left it out`);
      }
    });
  }
}

/**
 * Overwrites tokens in the databases' free space: 8.2 and 9.6 leave a spent one there at each change. Rewriting the small
 * table does that; a VACUUM of a database that may be large, on EFS, before each start, would take too long.
 */
async function wipeFreeSpace() {
  for (const { files, profiles: { table } } of STORES) {
    await eachDatabase(files(), table, (database) => {
      database.exec(`
        PRAGMA secure_delete = ON;
        PRAGMA temp_store = MEMORY;
        PRAGMA foreign_keys = OFF;
        BEGIN IMMEDIATE;
        CREATE TEMP TABLE kept AS SELECT * FROM ${table};
        DELETE FROM ${table};
        INSERT INTO ${table} SELECT * FROM kept;
        COMMIT;
        PRAGMA wal_checkpoint(TRUNCATE);`);
    });
  }
}

/** For a store that never held a profile, or of a release that keeps them in an unknown place: the release knows where. */
async function logout(openclaw, profileId) {
  const lines = [];
  const { code, signal } = await run(openclaw, ["models", "auth", "logout", profileId, "--yes"], CLI_MS, (line) => lines.push(line));
  if (code !== 0 && !lines.some((line) => /not found/i.test(line))) {
    throw new Failure(70, `openclaw models auth logout ended with ${signal ?? code}: ${lines.slice(-3).join(" / ")}`);
  }
}

// Egress

/**
 * From 2026.9.4 on doctor refreshes an expired access token, and throws the refresh token away if it cannot reach OpenAI. So
 * without egress doctor is not run if there is anything that it could refresh.
 */
async function requireEgress(pending) {
  const stored = await storedProfiles();
  const here = [...Object.entries(readProfiles()?.profiles ?? {}), ...stored.found];
  const known = stored.known || sharedDatabase().length === 0;
  // A profile with the pending profile's id makes way for it, or is the same one already, from a run that was killed.
  const refreshable = here.some(([id, profile]) => id !== pending?.profile_id && isSignIn(profile));
  const fresh = !pending || pending.profile.expires > Date.now() + FRESH_MS;
  if (known && fresh && !refreshable) return;
  let why;
  for (let attempt = 1; attempt <= EGRESS_TRIES; attempt += 1) {
    why = await probe();
    if (!why) return;
    if (attempt < EGRESS_TRIES) await new Promise((resolve) => setTimeout(resolve, 1000 * attempt));
  }
  throw new Failure(75, `no egress to ${EGRESS_URL}: ${why}; nothing was touched, the import is repeated at the next start`);
}

/** An empty text if OpenAI answered, or else the reason why not. */
function probe() {
  return new Promise((resolve) => {
    const options = { timeout: EGRESS_MS, headers: { "user-agent": "openclaw-provisioner" } };
    // Node 24 and later; earlier ones do not know the option.
    if (process.env.HTTPS_PROXY || process.env.https_proxy) options.agent = new https.Agent({ proxyEnv: process.env });
    const request = https.get(EGRESS_URL, options, (response) => {
      response.resume();
      const challenged = response.statusCode === 403 && response.headers["cf-mitigated"] === "challenge";
      resolve(challenged ? "Cloudflare answers this address with a challenge (403, cf-mitigated), as it does to some data centres" : "");
      request.destroy();
    });
    const timer = setTimeout(() => request.destroy(Object.assign(new Error("timeout"), { code: "ETIMEDOUT" })), EGRESS_MS);
    request.on("close", () => clearTimeout(timer));
    request.on("timeout", () => request.destroy(Object.assign(new Error("timeout"), { code: "ETIMEDOUT" })));
    request.on("error", (error) => resolve(reason(error)));
  });
}

function reason(error) {
  const code = String(error.code ?? error.message);
  if (code === "ENOTFOUND" || code.startsWith("EAI_")) return `the name cannot be resolved (DNS, ${code})`;
  if (code === "ETIMEDOUT") return `no answer within ${EGRESS_MS / 1000} s`;
  if (/TLS|SSL|CERT|SIGNATURE|EPROTO/.test(code)) return `TLS failed (${code})`;
  return `the connection failed (${code})`;
}

// The release

async function findOpenClaw() {
  const onPath = (process.env.PATH ?? "").split(":").filter(Boolean).map((directory) => path.join(directory, "openclaw"));
  for (const candidate of [...onPath, path.resolve("openclaw.mjs"), "/app/openclaw.mjs"]) {
    let file;
    try {
      fs.accessSync(candidate, candidate.endsWith(".mjs") ? fs.constants.R_OK : fs.constants.X_OK);
      file = fs.realpathSync(candidate);
    } catch {
      continue;
    }
    const command = /\.m?js$/.test(file) ? [process.execPath, file] : [candidate];
    const release = releaseBeside(file) ?? (await askedRelease({ command }));
    const [, ...numbers] = /^(\d+)\.(\d+)\.(\d+)/.exec(release ?? "") ?? [];
    if (numbers.length === 0) throw new Failure(70, `${candidate} does not say which release of OpenClaw it is`);
    return { command, release, older: isBefore(FIRST_RELEASE, numbers), hasLogout: !isBefore(FIRST_WITH_LOGOUT, numbers) };
  }
  return null;
}

function releaseBeside(file) {
  try {
    const described = JSON.parse(fs.readFileSync(path.join(path.dirname(file), "package.json"), "utf8"));
    return described.name === "openclaw" && typeof described.version === "string" ? described.version : null;
  } catch {
    return null;
  }
}

async function askedRelease(openclaw) {
  let release;
  await run(openclaw, ["--version"], CLI_MS, (line) => {
    release ??= /\b\d{4}\.\d+\.\d+[\w.-]*/.exec(line)?.[0];
  });
  return release;
}

function isBefore(first, numbers) {
  const at = first.findIndex((number, place) => number !== Number(numbers[place]));
  return at >= 0 && Number(numbers[at]) < first[at];
}

/** Runs the CLI; each line of its output goes to `onLine`. */
function run(openclaw, args, timeoutMs, onLine) {
  const began = Date.now();
  const [program, ...before] = openclaw.command;
  return new Promise((resolve, reject) => {
    const child = spawn(program, [...before, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      // Otherwise 2026.8.2 refuses where it sees no container, and it does not recognize Fargate's.
      env: { ...process.env, OPENCLAW_SERVICE_REPAIR_POLICY: "external" },
    });
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on("line", onLine);
    const terminate = setTimeout(() => child.kill("SIGTERM"), timeoutMs);
    const kill = setTimeout(() => child.kill("SIGKILL"), timeoutMs + 10_000);
    child.on("error", (error) => reject(new Failure(70, `cannot run ${program}: ${error.message}`)));
    child.on("close", (code, signal) => {
      clearTimeout(terminate);
      clearTimeout(kill);
      resolve({ code, signal, seconds: Math.round((Date.now() - began) / 1000) });
    });
  });
}

// Small things

function keepSecret(profile) {
  for (const name of ["access", "refresh", "key", "token"]) {
    const value = profile?.[name];
    if (typeof value === "string" && value.length > 8) secrets.add(value);
  }
}

function readText(file) {
  try {
    return fs.readFileSync(file, "utf8").trim();
  } catch (error) {
    if (error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** Writes a file whole or not at all, and durably: the old content stays until the new one is on disk. */
function writeFile(file, text, allowed = () => true) {
  // Always the same name, so that the next run overwrites what a killed run leaves, which may hold tokens.
  const temporary = `${file}.import-tmp`;
  fs.rmSync(temporary, { force: true });
  const handle = fs.openSync(temporary, "wx", 0o600);
  try {
    fs.writeSync(handle, text);
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
  // Nothing can be locked between this check and the rename. But the provisioner stages first and restarts then, so that the
  // window is a matter of microseconds.
  if (!allowed()) {
    fs.rmSync(temporary);
    return false;
  }
  fs.renameSync(temporary, file);
  return true;
}

main().catch((error) => {
  say(error instanceof Failure ? error.message : `the import stopped: ${error.stack ?? error}`);
  process.exitCode = error instanceof Failure ? error.code : 70;
});
