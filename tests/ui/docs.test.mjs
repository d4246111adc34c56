// Tests of the API's documentation page, in a browser, with the real binary.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { TOKEN, newPage, screenshot, startBrowser, startServer } from "./world.mjs";

let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await startBrowser();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test("every operation is shown and can be tried, and nothing is loaded from elsewhere", async () => {
  const page = await newPage(browser);
  const elsewhere = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(server.api) && !request.url().startsWith("data:")) elsewhere.push(request.url());
  });
  const document = await (await fetch(`${server.api}/openapi.json`)).json();
  const operations = Object.values(document.paths).flatMap((path) => Object.values(path)).map((operation) => operation.operationId);

  await page.goto(`${server.api}/docs`);
  await page.locator(".opblock").first().waitFor();
  assert.equal(await page.locator(".opblock").count(), operations.length);
  await screenshot(page, "docs");

  await page.getByRole("button", { name: "Authorize" }).first().click();
  await page.locator(".auth-container input").fill(TOKEN);
  await page.locator(".auth-container").getByRole("button", { name: "Apply credentials" }).click();
  await page.locator(".auth-container").getByRole("button", { name: "Close" }).click();
  await page.locator("#operations-watching-list_containers .opblock-summary-control").click();
  await page.getByRole("button", { name: "Execute" }).click();
  const answered = page.locator("#operations-watching-list_containers .live-responses-table .response-col_status");
  await answered.filter({ hasText: "200" }).first().waitFor();
  await screenshot(page, "docs-tried");

  assert.deepEqual(elsewhere, [], "addresses elsewhere");
  assert.deepEqual(page.complaints, [], "errors of scripts, or breaches of the policy");
  await page.context().close();
});
