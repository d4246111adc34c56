// Tests of the containers page, in a browser, with the real binary.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { fleet, refuse, serveList } from "./standins.mjs";
import {
  TOKEN, act, newPage, provisionBody, screenshot, signIn, startBrowser, startServer, unaccessible, waitForState,
} from "./world.mjs";

let server;
let browser;
let pages = [];

before(async () => {
  server = await startServer();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

afterEach(async () => {
  const complaints = pages.flatMap((page) => page.complaints);
  await Promise.all(pages.map((page) => page.context().close()));
  pages = [];
  assert.deepEqual(complaints, [], "errors of scripts, or breaches of the policy");
});

async function open(options, prepare = async () => {}) {
  const page = await newPage(browser, options);
  pages.push(page);
  await prepare(page);
  await page.goto(`${server.api}/ui`);
  return page;
}

async function openSignedIn(options, prepare) {
  const page = await open(options, prepare);
  await signIn(page);
  await page.locator("#sign-in").waitFor({ state: "hidden" });
  return page;
}

test("the token is asked for once, and a wrong one again", async () => {
  const page = await open();
  await page.locator("#sign-in").waitFor();
  await page.keyboard.press("Escape");
  await signIn(page, "wrong");
  await page.locator("#sign-in-trouble", { hasText: "not one of the accepted ones" }).waitFor();
  await screenshot(page, "sign-in");
  await signIn(page);
  await page.locator("#shown", { hasText: "containers" }).waitFor();
  await page.reload();
  await page.locator("#shown", { hasText: "containers" }).waitFor();
  assert.equal(await page.locator("#sign-in").isVisible(), false);
  const kept = await page.evaluate(() => [localStorage, sessionStorage].map((storage) => JSON.stringify({ ...storage })));
  assert.deepEqual([...kept, page.url()].map((text) => text.includes(TOKEN)), [false, true, false]);
  await page.getByRole("button", { name: "Forget token" }).click();
  await page.locator("#sign-in").waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test("from provision to running, a resize that fails with its reason, and the retry", async (t) => {
  t.after(() => server.behave("healthy"));
  const page = await openSignedIn();
  assert.equal((await server.call("POST", "/provision", provisionBody("alice"))).status, 201);
  await page.getByLabel("Find").fill("alice");
  const row = page.locator("#containers tbody tr", { hasText: "alice" });
  await row.or(page.getByRole("link", { name: /Look up/ })).first().click();
  await page.locator("#detail .words", { hasText: "%" }).waitFor();
  assert.equal(await page.locator("#detail [aria-current=step]").count(), 1);
  await screenshot(page, "provisioning");
  await waitForState(page, "running");
  await row.locator(".state-running").waitFor();
  assert.equal(await page.locator("#detail .phase-done").count(), 8);
  await screenshot(page, "running");

  await act(page, "Resize", async (dialog) => {
    await dialog.getByLabel("CPU").selectOption("1024");
    await screenshot(page, "resize");
  });
  await page.locator("#detail dd", { hasText: "1 vCPU, 2 GiB" }).waitFor();
  await waitForState(page, "running");

  await server.behave("oom");
  await act(page, "Resize", (dialog) => dialog.getByLabel("Memory").selectOption("4096"));
  await waitForState(page, "failed");
  const reason = page.locator("#detail .notice.bad");
  await reason.filter({ hasText: "OutOfMemoryError" }).filter({ hasText: "What to do:" }).waitFor();
  await row.locator(".state-failed").waitFor();
  await screenshot(page, "failed");

  await server.behave("healthy");
  await act(page, "Redeploy", async (dialog) => assert.equal(await dialog.getByLabel(/Restart even/).isChecked(), true));
  await waitForState(page, "running");
  await reason.waitFor({ state: "detached" });

  await act(page, "Stop");
  await waitForState(page, "stopped");
  assert.equal(await page.locator("#detail").getByRole("button", { name: "Stop" }).isDisabled(), true);
  await act(page, "Start");
  await waitForState(page, "running");
});

test("a container that cannot be placed shows the reason, in list and detail", async (t) => {
  t.after(() => server.behave("healthy"));
  await server.behave("no-capacity");
  const page = await openSignedIn();
  assert.equal((await server.call("POST", "/provision", provisionBody("dora"))).status, 201);
  await page.goto(`${server.api}/ui/#/dora`);
  const reason = page.locator("#detail .notice.bad, #detail .notice.warn");
  await reason.filter({ hasText: "Capacity is unavailable" }).filter({ hasText: "What to do:" }).waitFor();
  await page.getByLabel("Find").fill("dora");
  await page.locator("#containers tbody tr", { hasText: "dora" }).filter({ hasText: /no.capacity/ }).waitFor();
  assert.equal((await server.call("DELETE", "/containers/dora?data=purge&force=true")).status, 202);
});

test("a deployment can be cancelled, and a confirmation can be closed", async (t) => {
  t.after(() => server.behave("healthy"));
  await server.behave("slow");
  const page = await openSignedIn();
  await server.call("POST", "/provision", provisionBody("bob"));
  await page.goto(`${server.api}/ui/#/bob`);
  await waitForState(page, "provisioning");
  await page.locator("#detail").getByRole("button", { name: "Cancel" }).click();
  await page.keyboard.press("Escape");
  await page.locator("#confirm").waitFor({ state: "hidden" });
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Cancel");
  await act(page, "Cancel");
  await page.locator("#detail .notice.good", { hasText: "scaled to zero" }).waitFor();
  await waitForState(page, "stopped");
});

test("a refusal names field and fix, and a read-only token gets a clear message", async () => {
  await server.running("carol");
  const page = await openSignedIn({}, (page) => page.addInitScript(() => { location.hash = "#/carol"; }));
  await waitForState(page, "running");
  await refuse(page, "**/resize", 422, {
    title: "A field is not valid",
    detail: "memory_mib: too little",
    code: "invalid_field",
    field: "memory_mib",
    fix: "use 4096",
  });
  await act(page, "Resize");
  const dialog = page.locator("#confirm");
  for (const text of ["memory_mib: too little", "Fix: use 4096", "invalid_field", "r-1"]) await dialog.getByText(text).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.name), "memory_mib");
  await screenshot(page, "refused");
  await page.getByRole("button", { name: "Leave it" }).click();
  await refuse(page, "**/redeploy", 403, {
    title: "The token's scope is not enough",
    detail: "it needs the scope provision",
    code: "forbidden",
  });
  await act(page, "Redeploy");
  await page.locator("#refusal", { hasText: "it needs the scope provision" }).waitFor();
  await page.getByRole("button", { name: "Leave it" }).click();
  const buttons = await page.locator("#detail [role=group] button").all();
  assert.deepEqual(await Promise.all(buttons.map((button) => button.isDisabled())), [true, true, true, true, true]);
});

test("five thousand rows can be sorted, filtered and used with the keyboard", async () => {
  const page = await openSignedIn({}, (page) => serveList(page, fleet(5000)));
  await page.locator("#shown", { hasText: "5,000 containers" }).waitFor();
  await screenshot(page, "five-thousand");
  const rows = page.locator("#containers tbody tr[data-at]");
  assert.ok(await rows.count() < 100, "only visible rows are elements");
  await page.locator("#skip").focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("End");
  await rows.filter({ hasText: "user-4999" }).waitFor();
  assert.equal(await page.locator("#containers").getAttribute("aria-activedescendant"), "row-4999");
  await page.getByRole("button", { name: "User" }).click();
  await page.locator("#row-0", { hasText: "user-4999" }).waitFor();
  assert.equal(await page.locator("th.col-user").getAttribute("aria-sort"), "descending");
  const states = page.locator("#by-state");
  await states.getByRole("button", { name: /failed/ }).click();
  const failed = fleet(5000).filter(({ state }) => state === "failed");
  await page.locator("#shown", { hasText: `${failed.length} of 5,000` }).waitFor();
  await page.getByLabel("Find").fill("image_pull");
  const pulls = failed.filter(({ reason_code }) => reason_code === "image_pull");
  await page.locator("#shown", { hasText: `${pulls.length} of 5,000` }).waitFor();
  await page.getByRole("combobox", { name: "Version" }).selectOption("2026.9.6");
  const newest = pulls.filter(({ openclaw_version }) => openclaw_version === "2026.9.6");
  await page.locator("#shown", { hasText: `${newest.length} of 5,000` }).waitFor();
  await page.getByRole("button", { name: "Clear" }).click();
  await page.locator("#shown", { hasText: /^5,000 containers/ }).waitFor();
});

test("the keyboard alone opens a container, closes it and returns to its row", async () => {
  await server.running("zoe");
  const page = await openSignedIn();
  await page.locator("#containers tbody tr", { hasText: "zoe" }).waitFor();
  await page.locator("#containers").focus();
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  await page.locator("#detail-title", { hasText: "zoe" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "detail-title");
  await page.keyboard.press("Escape");
  await page.locator("#detail").waitFor({ state: "hidden" });
  assert.equal(await page.evaluate(() => document.activeElement.id), "containers");
  assert.equal(await page.locator("tr.active").textContent().then((text) => text.startsWith("zoe")), true);
});

test("text that looks like markup is shown as text", async () => {
  const markup = `<img src=x onerror="document.title='owned'">`;
  const entry = { ...fleet(1)[0], user_id: markup, openclaw_version: markup, reason_code: markup, base_revision: "a\u202eb:1" };
  const container = {
    user_id: markup,
    state: "failed",
    phase: null,
    ready: false,
    service: markup,
    image: markup,
    base_task_definition: "arn:x/a\u202eb:1",
    warnings: [{ code: "x", message: markup }],
    reason: { code: "other", message: markup, hint: "look" },
  };
  const page = await openSignedIn({}, async (page) => {
    await serveList(page, [entry]);
    await page.route((url) => /^\/containers\/./.test(url.pathname), (route) => route.fulfill({ json: container }));
  });
  await page.locator("#containers tbody tr[data-at]").click();
  await page.locator("#detail .notice.bad", { hasText: markup }).waitFor();
  assert.equal(await page.locator("img").count(), 0);
  assert.equal(await page.title(), "OpenClaw containers");
  await page.locator("#detail dd", { hasText: "a\ufffdb:1" }).waitFor();
});

for (const colorScheme of ["light", "dark"]) {
  test(`the page is accessible in ${colorScheme}, and at 360 pixels`, async () => {
    await server.running("alice");
    const list = [...fleet(300), { ...fleet(1)[0], user_id: "alice" }];
    const page = await openSignedIn({ colorScheme }, (page) => serveList(page, list));
    await page.locator("#shown", { hasText: "301 containers" }).waitFor();
    await screenshot(page, `${colorScheme}-list`);
    assert.deepEqual(await unaccessible(page), []);
    await page.goto(`${server.api}/ui/#/alice`);
    await waitForState(page, "running");
    await screenshot(page, `${colorScheme}-detail`);
    assert.deepEqual(await unaccessible(page), []);
    await page.locator("#detail").getByRole("button", { name: "Stop" }).click();
    await screenshot(page, `${colorScheme}-stop`);
    assert.deepEqual(await unaccessible(page), []);
    await page.keyboard.press("Escape");
    await page.setViewportSize({ width: 360, height: 740 });
    const tooWide = () => page.evaluate(() => document.documentElement.scrollWidth - 360);
    await screenshot(page, `${colorScheme}-narrow-detail`);
    assert.equal(await tooWide(), 0);
    await page.getByRole("button", { name: "Close the detail" }).click();
    await page.locator("#containers tbody tr[data-at]").first().waitFor();
    await screenshot(page, `${colorScheme}-narrow`);
    assert.equal(await tooWide(), 0);
    assert.deepEqual(await unaccessible(page), []);
    const other = { light: "dark", dark: "light" }[colorScheme];
    await page.getByLabel("Theme").selectOption(other);
    await page.reload();
    assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), other);
  });
}
