// The rollouts page: the list, the progress of one rollout, and the actions on it.

import { Problem, call, events, hasToken } from "./api.js";
import { byId, count, h, printable, problemBox } from "./dom.js";
import { signIn } from "./sign_in.js";

/** How often the list is fetched while the page is visible, in milliseconds. */
const LOAD_EVERY = 15_000;
/** The shortest and the longest wait before a lost connection is opened again, in milliseconds. */
const [RETRY_FIRST, RETRY_MOST] = [1_000, 15_000];

const STATES = {
  running: "◐ running",
  paused: "‖ paused",
  done: "● done",
  aborted: "■ aborted",
  rolled_back: "↩ rolled back",
};

/** Each action: the text of its confirmation, and the states in which the API allows it. */
const ACTIONS = [
  {
    path: "pause",
    name: "Pause",
    isAllowed: ({ state }) => state === "running",
    says: "Begins with no more users. Users who are being changed are finished.",
  },
  {
    path: "resume",
    name: "Resume",
    isAllowed: ({ state }) => state === "paused",
    says: "Continues. Users who have failed so far no longer count.",
  },
  {
    path: "rollback",
    name: "Roll back",
    isGrave: true,
    isAllowed: ({ state, direction }) => state !== "rolled_back" && (direction === "forward" || !["running", "paused"].includes(state)),
    says: "Returns users who were moved to what they had, in the same waves. Their containers are replaced once more.",
  },
  {
    path: "abort",
    name: "Abort",
    isGrave: true,
    isAllowed: ({ state }) => ["running", "paused"].includes(state),
    says: "Ends the rollout: users who were moved stay where they are.",
  },
];

const WAITS = {
  user: "a user to become ready",
  limit: "its turn: AWS's rate limits, files, or other work on a user",
  soak: "the soak time to be over",
  window: "its maintenance window",
  resume: "somebody to resume it",
};

const PARTS = ["done", "soaking", "on_the_way", "failed", "skipped", "waiting"];

let rollouts = [];
let notUnderstood = [];
let following = null;
let shown = null;

const chosen = () => decodeURIComponent(location.hash.replace(/^#\//, ""));
const words = (name) => String(name).replaceAll("_", " ");

function state(name) {
  return h("span", { class: `badge rollout-${name in STATES ? name : "aborted"}` }, STATES[name] ?? printable(name));
}

/** The number of users who are done, for the list; it may be unknown for an old rollout. */
function howFar(counts) {
  if (!counts) return "";
  const failed = counts.failed > 0 ? `, ${count(counts.failed)} failed` : "";
  return `${count(counts.done)} of ${count(counts.all)} done${failed}, `;
}

function showList() {
  const current = chosen();
  byId("list").replaceChildren(
    ...rollouts.map((rollout) => h("li", {},
      h("a", { href: `#/${encodeURIComponent(rollout.id)}`, "aria-current": String(rollout.id === current) },
        h("span", { class: "name" }, printable(rollout.change)), state(rollout.state),
        h("span", { class: "muted small" }, ` ${howFar(rollout.counts)}${when(rollout.created_at)} by ${printable(rollout.created_by)}`),
        h("span", { class: "muted small name-of-rollout" }, printable(rollout.id))))),
    ...notUnderstood.map((id) => h("li", { class: "muted small" }, `${printable(id)}: of a later version, or damaged`)));
  if (rollouts.length + notUnderstood.length === 0) byId("list").replaceChildren(h("li", { class: "muted" }, "There are none."));
}

/** A duration in words. */
function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const when = (text) => new Date(text).toISOString().replace("T", " ").slice(0, 16) + " UTC";

function facts(rollout) {
  const { progress } = rollout;
  const waits = WAITS[progress.waits_for];
  const opens = progress.goes_on_at ? `, which opens at ${when(progress.goes_on_at)}` : "";
  const rows = [
    ["Waits for", waits && `${waits}${opens}`],
    ["Wave", rollout.state === "running" && progress.wave != null ? (progress.wave === 0 ? "canaries" : String(progress.wave)) : null],
    ["Rate", progress.users_per_minute != null && rollout.state === "running" ? `${progress.users_per_minute} users a minute` : null],
    ["Ends in", progress.ends_in_seconds != null ? `about ${duration(progress.ends_in_seconds)}, at the pace so far` : null],
    ["Planned for", rollout.planned_seconds ? duration(rollout.planned_seconds) : null],
    ["Started", `${when(rollout.created_at)} by ${rollout.created_by}`],
    ["Changed", `${when(rollout.changed_at)} by ${rollout.changed_by}`],
    ["New users get", rollout.promoted_before && ["running", "paused"].includes(rollout.state) ? rollout.promoted_before : null],
  ];
  return h("dl", {}, rows.filter(([, text]) => text).map(([name, text]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, printable(text)))));
}

function bar(users) {
  const present = PARTS.filter((part) => users[part] > 0);
  const parts = present.map((part) => {
    const piece = h("span", { class: `of-${part}` });
    piece.style.flexGrow = users[part];
    return piece;
  });
  return [
    h("div", { class: "bar", "aria-hidden": "true" }, parts),
    h("ul", { class: "parts" }, present.map((part) =>
      h("li", { class: `of-${part}` }, h("strong", {}, count(users[part])), ` ${words(part)}`))),
  ];
}

function waves(all) {
  const row = (wave) => h("tr", {},
    h("td", {}, wave.wave === 0 ? "canaries" : String(wave.wave)),
    h("td", { class: "number" }, count(wave.users)),
    h("td", {}, h("progress", { max: String(wave.users), value: String(wave.through), "aria-label": `Wave ${wave.wave}` }),
      ` ${count(wave.through)} through`));
  return h("section", { "aria-labelledby": "waves-title" }, h("h3", { id: "waves-title" }, "Waves"),
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Wave"), h("th", { scope: "col", class: "number" }, "Users"),
      h("th", { scope: "col" }, "Progress"))), h("tbody", {}, all.map(row))));
}

function failures({ failed, skipped }) {
  const one = (failure) => h("div", { class: "notice bad failure" },
    h("strong", {}, printable(words(failure.code))),
    ` ${count(failure.users)}; ${count(failure.back)} of them are back on what they had`,
    h("ul", {}, failure.messages.map((message) => h("li", {}, printable(message)))));
  const left = Object.entries(skipped).map(([why, users]) => `${count(users)} ${words(why)}`).join(", ");
  return [
    failed.length > 0 ? h("section", { "aria-labelledby": "failed-title" }, h("h3", { id: "failed-title" }, "Failed"), failed.map(one)) : null,
    left ? h("p", {}, `Left out: ${printable(left)}`) : null,
  ];
}

function show(rollout) {
  shown = rollout;
  const { progress } = rollout;
  const focused = document.activeElement?.dataset?.action;
  const buttons = ACTIONS.filter((action) => action.isAllowed(rollout)).map((action) =>
    h("button", { type: "button", class: action.isGrave ? "grave" : "", "data-action": action.path, on: { click: () => ask(action) } }, action.name));
  byId("rollout").replaceChildren(...[
    h("h2", { id: "rollout-title" }, printable(rollout.change), " ", state(rollout.state),
      rollout.direction === "back" && rollout.state !== "rolled_back" ? h("span", { class: "muted" }, " on the way back") : null),
    rollout.reason ? h("p", { class: "notice bad" }, printable(rollout.reason)) : null,
    h("div", {}, h("progress", { max: "100", value: String(progress.percent), "aria-label": "Progress" }),
      h("p", {}, `${progress.percent} % of ${count(progress.users.all)} users are through`), bar(progress.users)),
    ...(buttons.length > 0 ? [h("div", { class: "buttons" }, buttons)] : []),
    facts(rollout),
    waves(progress.waves),
    ...failures(progress),
  ].filter(Boolean));
  const known = rollouts.find(({ id }) => id === rollout.id);
  const counts = JSON.stringify(progress.users);
  if (known && (known.state !== rollout.state || JSON.stringify(known.counts) !== counts || byId("list").querySelector("[aria-current=true]")?.hash !== location.hash)) {
    [known.state, known.counts] = [rollout.state, progress.users];
    if (!byId("list").contains(document.activeElement)) showList();
  }
  if (focused) byId("rollout").querySelector(`[data-action="${CSS.escape(focused)}"]`)?.focus();
}

async function ask(action) {
  const dialog = byId("confirm");
  const [yes, no, trouble] = [byId("confirm-yes"), byId("confirm-no"), byId("confirm-trouble")];
  const { id } = shown;
  byId("confirm-title").textContent = `${action.name} ${id}?`;
  byId("confirm-text").textContent = action.says;
  trouble.replaceChildren();
  yes.textContent = action.name;
  yes.className = action.isGrave ? "grave" : "primary";
  yes.disabled = false;
  const over = new AbortController();
  dialog.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (yes.disabled) return;
    yes.disabled = true;
    trouble.replaceChildren();
    try {
      const { body } = await call("POST", `rollouts/${encodeURIComponent(id)}/${action.path}`, { body: {}, signal: over.signal });
      if (chosen() === id) show(body);
      dialog.close();
      follow();
      load();
    } catch (error) {
      if (!(error instanceof Problem)) return;
      trouble.replaceChildren(problemBox(error));
      yes.disabled = error.status === 403;
    }
  }, { signal: over.signal });
  no.addEventListener("click", () => dialog.close(), { signal: over.signal });
  dialog.addEventListener("close", () => over.abort(), { signal: over.signal });
  dialog.showModal();
  no.focus();
}

/** Follows the chosen rollout, until another one is chosen or it is over. */
async function follow() {
  following?.abort();
  const id = chosen();
  if (!id || !hasToken()) return;
  const mine = new AbortController();
  following = mine;
  let wait = RETRY_FIRST;
  let lastId;
  const link = (text) => { byId("link").textContent = text; };
  while (!mine.signal.aborted) {
    try {
      const stream = await events(`rollouts/${encodeURIComponent(id)}/events`, { lastId, signal: mine.signal });
      if (!stream) return link("up to date");
      link("live");
      for await (const event of stream) {
        if (mine.signal.aborted) return;
        wait = RETRY_FIRST;
        lastId = event.id || lastId;
        byId("trouble").replaceChildren();
        if (event.type === "rollout") show(JSON.parse(event.data));
        if (event.type === "done") {
          load();
          return link("over");
        }
      }
    } catch (error) {
      if (mine.signal.aborted) return;
      if (error instanceof Problem && error.status !== 0) byId("trouble").replaceChildren(problemBox(error));
      if ([401, 403, 404, 422].includes(error.status)) return link("");
    }
    link(`connecting again in ${wait / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, RETRY_MOST);
  }
}

async function load() {
  if (!hasToken()) return;
  try {
    const { body } = await call("GET", "rollouts");
    rollouts = body.rollouts;
    notUnderstood = body.not_understood;
    showList();
    if (!chosen() && rollouts.length > 0) {
      history.replaceState(null, "", `#/${encodeURIComponent(rollouts[0].id)}`);
      follow();
    }
    if (!chosen()) {
      byId("rollout").replaceChildren(h("h2", { id: "rollout-title" }, "No rollout"),
        h("p", { class: "muted" }, "One is started with ", h("code", {}, "rollout start"), " or ", h("code", {}, "POST /rollouts"), "."));
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.status !== 401) byId("trouble").replaceChildren(problemBox(error));
  }
}

function start() {
  const theme = localStorage.getItem("openclaw-provisioner.theme");
  if (theme) document.documentElement.dataset.theme = theme;
  const begin = () => {
    follow();
    load();
  };
  window.addEventListener("hashchange", begin);
  setInterval(() => { if (!document.hidden) load(); }, LOAD_EVERY);
  signIn({ begin });
}

start();
