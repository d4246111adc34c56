import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { World } from "./world.mjs";

const BEFORE = {
  "agent:main:main": { sessionId: "1", modelProvider: "openai-codex", model: "gpt-5.5", agentHarnessId: "pi" },
  "agent:main:chosen": { sessionId: "2", providerOverride: "openai-codex", modelOverride: "gpt-5.4", agentRuntimeOverride: "auto" },
  "agent:main:pinned": { sessionId: "3", modelProvider: "openai-codex", agentRuntimeOverride: "codex" },
  "agent:main:other": { sessionId: "4", modelProvider: "anthropic", model: "claude-opus-4-7" },
  "agent:main:null": null,
};

function upgraded(t) {
  const world = new World(t);
  world.stage(world.pending("ann"));
  const sessions = path.join(world.state, "agents/main/sessions/sessions.json");
  const broken = path.join(world.state, "agents/broken/sessions/sessions.json");
  for (const [file, text] of [[sessions, JSON.stringify(BEFORE)], [broken, "{"]]) {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text, { mode: 0o600 });
  }
  return { world, after: () => JSON.parse(fs.readFileSync(sessions, "utf8")), broken: () => fs.readFileSync(broken, "utf8") };
}

test("conversations from before 2026.6 stay on OpenClaw's own runtime", async (t) => {
  const { world, after, broken } = upgraded(t);
  const ran = await world.import();
  assert.equal(ran.code, 0, ran.err);
  assert.deepEqual(after(), {
    ...BEFORE,
    "agent:main:main": { ...BEFORE["agent:main:main"], agentRuntimeOverride: "openclaw" },
    "agent:main:chosen": { ...BEFORE["agent:main:chosen"], agentRuntimeOverride: "openclaw" },
  });
  assert.equal(broken(), "{");
});

test("with the codex plugin in the image, doctor gives them to the plugin", async (t) => {
  const { world, after } = upgraded(t);
  assert.equal((await world.import({ OPENCLAW_CODEX_PLUGIN: "2026.9.6" })).code, 0);
  assert.deepEqual(after(), BEFORE);
});

test("the plugin of another release does not count", async (t) => {
  const { world, after } = upgraded(t);
  assert.equal((await world.import({ OPENCLAW_CODEX_PLUGIN: "2026.9.5" })).code, 0);
  assert.equal(after()["agent:main:main"].agentRuntimeOverride, "openclaw");
});
