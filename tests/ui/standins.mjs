// Stand-ins for the server's answers: lists and problems as a test needs them.

const MIB = [1024, 2048, 4096];
const STATES = ["failed", "stopped", "provisioning", "stopping", "deleting"];
const VERSIONS = ["2026.9.6", "2026.8.1", "2026.7.3", "2026.7.1", "2026.6.5", "2026.5.12", "2026.4.25", "2026.4.21"];

/** A fleet of `number` containers: mostly running, on eight releases, the newest first. */
export function fleet(number) {
  return Array.from({ length: number }, (_, at) => {
    const state = at % 12 === 0 ? STATES[(at / 12) % STATES.length] : "running";
    return {
      user_id: `user-${String(at).padStart(4, "0")}`,
      state,
      openclaw_version: VERSIONS[Math.min(VERSIONS.length - 1, Math.floor(Math.sqrt(at % 64)))],
      base_revision: `openclaw-prod:${40 + (at % 3)}`,
      size: { cpu: 512, memory_mib: MIB[at % 3] },
      reason_code: state === "failed" ? ["out_of_memory", "image_pull", "container_exited"][at % 3] : null,
    };
  });
}

/** Answers `GET /containers` with these, a page at a time as the API does. */
export async function serveList(page, containers) {
  await page.route((url) => url.pathname === "/containers", (route) => {
    const query = new URL(route.request().url()).searchParams;
    const from = Number(query.get("cursor") ?? 0);
    const to = from + Number(query.get("limit"));
    const next = to < containers.length ? String(to) : null;
    const snapshot = { taken_at: new Date().toISOString(), age_seconds: 3, unread_definitions: 0 };
    return route.fulfill({ json: { containers: containers.slice(from, to), next_cursor: next, snapshot } });
  });
}

/** Answers a problem document to requests that match, other than GET. */
export async function refuse(page, matches, status, document) {
  await page.route(matches, (route) => (route.request().method() === "GET" ? route.fallback() : route.fulfill({
    status,
    contentType: "application/problem+json",
    body: JSON.stringify({ type: "about:blank", status, retryable: false, request_id: "r-1", ...document }),
  })));
}
