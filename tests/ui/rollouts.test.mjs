// Tests of the rollouts page, in a browser, with the real binary.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { newPage, screenshot, signIn, startBrowser, startServer, unaccessible } from "./world.mjs";

const USERS = ["ada", "bea", "cem", "dan", "eve", "fay"];

let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
  await Promise.all(USERS.map((user) => server.running(user)));
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function start(body) {
  const { status, body: started } = await server.call("POST", "/rollouts", body);
  assert.equal(status, 201, JSON.stringify(started));
  return started.id;
}

async function act(page, name) {
  await page.locator("#rollout").getByRole("button", { name, exact: true }).click();
  await page.locator("#confirm").getByRole("button", { name, exact: true }).click();
  await page.locator("#confirm").waitFor({ state: "hidden" });
}

const state = (page, name) => page.locator(`#rollout h2 .rollout-${name}`).waitFor();
const buttons = (page) => page.locator("#rollout .buttons button").allTextContents();

test("a rollout is followed, paused and resumed, and a failing one shows the reason", async (t) => {
  t.after(() => server.behave("healthy"));
  const page = await newPage(browser);
  await page.goto(`${server.api}/ui/`);
  await signIn(page);
  await page.getByRole("link", { name: "Rollouts" }).click();
  await page.locator("#rollout", { hasText: "No rollout" }).waitFor();
  assert.deepEqual(await unaccessible(page), []);
  await screenshot(page, "rollouts-none");

  const strategy = { canaries: 1, waves: [2], soak_seconds: 2, max_parallel: 2 };
  const first = await start({ change: { size: { cpu: 1024, memory_mib: 2048 } }, strategy });
  await page.reload();
  await state(page, "running");
  assert.match(page.url(), new RegExp(`#/${first}$`));
  await page.locator("#rollout .parts .of-done", { hasText: /[1-9] done/ }).waitFor();
  assert.deepEqual(await buttons(page), ["Pause", "Roll back", "Abort"]);
  assert.equal(await page.locator("#list a[aria-current=true]").count(), 1);
  assert.equal((await page.locator("#rollout").textContent()).includes("null"), false);
  assert.deepEqual(await unaccessible(page), []);
  await screenshot(page, "rollouts-middle");

  await act(page, "Pause");
  await state(page, "paused");
  assert.deepEqual(await buttons(page), ["Resume", "Roll back", "Abort"]);
  assert.deepEqual(await unaccessible(page), []);
  await screenshot(page, "rollouts-paused-by-hand");
  await act(page, "Resume");
  await state(page, "done");
  await page.locator("#link", { hasText: "over" }).waitFor();
  assert.deepEqual(await buttons(page), ["Roll back"]);
  await screenshot(page, "rollouts-done");

  await server.behave("oom");
  const second = await start({ change: { size: { cpu: 1024, memory_mib: 4096 } }, strategy });
  await page.locator(`#list a[href="#/${second}"]`).click();
  await state(page, "paused");
  await page.locator("#rollout .failure li", { hasText: "ada" }).waitFor();
  assert.match(await page.locator("#rollout > .notice.bad").textContent(), /1 failed, where 0 may/);
  assert.deepEqual(await unaccessible(page), []);
  await screenshot(page, "rollouts-paused");
  await page.emulateMedia({ colorScheme: "dark" });
  assert.deepEqual(await unaccessible(page), []);
  await screenshot(page, "rollouts-paused-dark");
  await page.setViewportSize({ width: 400, height: 800 });
  await screenshot(page, "rollouts-narrow");
  await act(page, "Abort");
  await state(page, "aborted");
  assert.deepEqual(page.complaints, [], "errors of scripts, or breaches of the policy");
  await page.context().close();
});
