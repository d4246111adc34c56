// Starts the real binary over its emulator, and a browser.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(join(process.env.UI_MODULES, "package.json"));
const { chromium } = require("playwright-core");
const axe = require("axe-core").source;

export const TOKEN = "token-of-an-operator";
/** How long anything on the page may take, in milliseconds: only a guard against waiting for ever. */
const WITHIN = 60_000;

/** Starts `dev` on free ports; `stop()` ends it and removes its files. */
export async function startServer() {
  const directory = mkdtempSync(join(tmpdir(), "openclaw-ui-"));
  const child = spawn(process.env.PROVISIONER_BINARY, [
    "dev", "--listen", "127.0.0.1:0", "--emulator-listen", "127.0.0.1:0", "--dir", directory, "--token", TOKEN,
  ], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, PROVISIONER_LOG: "warn" } });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    rmSync(directory, { recursive: true, force: true });
  };
  const lines = createInterface({ input: child.stdout });
  const addresses = await new Promise((resolve, reject) => {
    lines.on("line", (line) => {
      const found = /API (http:\/\/\S+)\s+AWS emulator (http:\/\/\S+)/.exec(line);
      if (found) resolve({ api: found[1], emulator: found[2] });
    });
    ended.then((code) => reject(new Error(`dev ended with ${code}`)));
  });
  const send = async (method, url, body) => {
    const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
    const response = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
    return { status: response.status, body: await response.json().catch(() => null) };
  };
  const call = (method, path, body) => send(method, addresses.api + path, body);
  return {
    ...addresses,
    stop,
    call,
    /** Provisions a user's container and waits until it runs and is in the list. */
    running: async (user) => {
      await call("POST", "/provision", provisionBody(user));
      const { body } = await call("GET", `/containers/${user}/wait?timeout_seconds=60`);
      if (body.state !== "running") throw new Error(`${user}: ${JSON.stringify(body)}`);
      await call("GET", "/containers?fresh=true");
    },
    /** Sets how every container of the user family behaves from now on. */
    behave: async (behaviour) => {
      const path = `${addresses.emulator}/_emulator/behaviours/openclaw-dev-user`;
      const { status } = await send("PUT", path, { behaviour });
      if (status !== 200) throw new Error(`the emulator answered ${status}`);
    },
  };
}

/** A body for `POST /provision`, with a sign-in of no real account. */
export function provisionBody(user) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { iat: 1_770_000_000, exp: 4_102_444_800, "https://api.openai.com/auth": { chatgpt_account_id: "acc" } };
  const jwt = `${encode({ alg: "none" })}.${encode(claims)}.c2ln`;
  const tokens = { access_token: jwt, refresh_token: "rt", id_token: jwt, account_id: "acc" };
  return { user_id: user, auth: { auth_mode: "chatgpt", tokens } };
}

export async function startBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--disable-dev-shm-usage"] });
}

/** A new tab without stored data. `page.complaints` collects script errors and violations of the policy. */
export async function newPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light", ...options });
  // For work on the page: serves its files from UI_FILES with the binary's headers, without a build.
  if (process.env.UI_FILES) {
    await context.route(/\/ui\/[a-z]+\.(js|css|html)$|\/ui\/(#|$)/, async (route) => {
      const name = new URL(route.request().url()).pathname.split("/").pop() || "index.html";
      await route.fulfill({ response: await route.fetch(), body: readFileSync(join(process.env.UI_FILES, name)) });
    });
  }
  const page = await context.newPage();
  page.setDefaultTimeout(WITHIN);
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("console", (message) => {
    if (/content security policy|trusted/i.test(message.text())) page.complaints.push(message.text());
  });
  return page;
}

export async function signIn(page, token = TOKEN) {
  await page.getByLabel("Token", { exact: true }).fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
}

export const screenshot = (page, name) => page.screenshot({ path: join(process.env.UI_SCREENSHOTS, `${name}.png`) });

/** Violations of WCAG 2.2 A and AA that axe finds, one line each. */
export async function unaccessible(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  if (!found.passes.some(({ id }) => id === "color-contrast")) throw new Error("axe looked at no colours");
  const line = ({ id, help }, { html, any }) => `${id}: ${help}: ${html.slice(0, 160)} ${any[0]?.message ?? ""}`;
  return found.violations.flatMap((rule) => rule.nodes.map((node) => line(rule, node)));
}

/** Waits until the open container is in `state`. */
export const waitForState = (page, state) => page.locator(`#detail .state-line .state-${state}`).waitFor();

/** Presses an action's button and confirms it; `fill(dialog)` can change the dialog's fields before. */
export async function act(page, name, fill = async () => {}) {
  await page.locator("#detail").getByRole("button", { name, exact: true }).click();
  const dialog = page.locator("#confirm");
  await dialog.waitFor();
  await fill(dialog);
  await dialog.getByRole("button", { name, exact: true }).click();
}
