// One test container: a state directory as the provisioner stages it, and an image with a fake OpenClaw.

import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const scripts = path.join(here, "../../crates/openclaw/src/entry");
const day = 86_400_000;

export const sqlite = await import("node:sqlite").catch(() => null);

export function profile(name, { expires = Date.now() + 5 * day } = {}) {
  return { type: "oauth", provider: "openai", access: `access-of-${name}`, refresh: `refresh-of-${name}`, expires,
    accountId: "acc", email: "nobody@example.invalid" };
}

export class World {
  constructor(t, version = "2026.9.6") {
    this.root = fs.mkdtempSync(path.join(os.tmpdir(), "entry-"));
    t.after(() => fs.rmSync(this.root, { recursive: true }));
    this.state = path.join(this.root, "state");
    this.image = path.join(this.root, "image");
    this.signIn = path.join(this.state, ".provisioner/sign-in.json");
    this.profiles = path.join(this.state, "agents/main/agent/auth-profiles.json");
    this.environment = { FAKE_NETWORK: "up" };
    fs.mkdirSync(path.dirname(this.signIn), { recursive: true });
    fs.mkdirSync(path.dirname(this.profiles), { recursive: true });
    for (const script of ["entry.sh", "import.mjs"]) {
      fs.copyFileSync(path.join(scripts, script), path.join(this.state, ".provisioner", script));
    }
    this.release(version);
  }

  release(version) {
    this.version = version;
    fs.mkdirSync(this.image, { recursive: true });
    fs.copyFileSync(path.join(here, "fake-openclaw.mjs"), path.join(this.image, "openclaw.mjs"));
    fs.writeFileSync(path.join(this.image, "package.json"), JSON.stringify({ name: "openclaw", version }));
  }

  pending(name, options) {
    return { version: 1, sign_in: { account: "hash" }, profile_id: "openai:default", profile: profile(name, options) };
  }

  stage(order) {
    fs.writeFileSync(this.signIn, JSON.stringify(order), { mode: 0o600 });
  }

  stageProfiles(profiles) {
    fs.writeFileSync(this.profiles, JSON.stringify({ version: 1, profiles }), { mode: 0o600 });
  }

  order() {
    return fs.existsSync(this.signIn) ? JSON.parse(fs.readFileSync(this.signIn, "utf8")) : null;
  }

  /** The calls of the CLI and of the network since the last look. */
  calls() {
    const file = path.join(this.state, "calls");
    const lines = fs.existsSync(file) ? fs.readFileSync(file, "utf8").trim().split("\n") : [];
    fs.rmSync(file, { force: true });
    return lines;
  }

  stored() {
    const elsewhere = path.join(this.state, "state/store.json");
    if (fs.existsSync(elsewhere)) return JSON.parse(fs.readFileSync(elsewhere, "utf8")).profiles;
    const file = path.join(this.state, "state/openclaw.sqlite");
    if (!sqlite || !fs.existsSync(file)) return {};
    const database = new sqlite.DatabaseSync(file);
    const row = database.prepare("SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'").get();
    database.close();
    return row ? JSON.parse(row.value_json).profiles : {};
  }

  /** The files below the state directory that contain this word. */
  holders(word) {
    const names = fs.readdirSync(this.state, { recursive: true }).map((name) => path.join(this.state, name));
    return names.filter((name) => fs.statSync(name).isFile() && fs.readFileSync(name).includes(word))
      .map((name) => path.relative(this.state, name)).filter((name) => name !== "spent");
  }

  import(environment) {
    return this.run([process.execPath, path.join(this.state, ".provisioner/import.mjs")], environment);
  }

  entry(args = [], environment) {
    return this.run(["/bin/sh", path.join(this.state, ".provisioner/entry.sh"), ...args], environment);
  }

  start([program, ...args], environment = {}) {
    return spawn(program, args, {
      cwd: this.image,
      env: { PATH: `${path.dirname(process.execPath)}:/usr/bin:/bin`, FAKE_STATE: this.state, FAKE_VERSION: this.version,
        NODE_OPTIONS: `--import=${path.join(here, "preload.mjs")}`, ...this.environment, ...environment },
    });
  }

  run(command, environment) {
    return ended(this.start(command, environment));
  }
}

export function ended(child) {
  return new Promise((resolve) => {
    const ran = { out: "", err: "" };
    child.stdout.on("data", (data) => (ran.out += data));
    child.stderr.on("data", (data) => (ran.err += data));
    child.on("close", (code, signal) => resolve({ ...ran, code, signal }));
  });
}
