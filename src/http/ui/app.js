// The containers page: signs in, loads the fleet, and connects the parts of the page.

import { hasToken, session } from "./api.js";
import { loadSizes } from "./actions.js";
import { Detail } from "./detail.js";
import { STATES, byId, count, h, printable, problemBox } from "./dom.js";
import { Fleet } from "./fleet.js";
import { signIn } from "./sign_in.js";
import { showSummary } from "./summary.js";
import { Table } from "./table.js";

/** How often the list is fetched while the page is visible, in milliseconds. */
const LOAD_EVERY = 30_000;
/** When a retryable failure is tried again: as the API's Retry-After, in milliseconds. */
const TRY_AGAIN = 5_000;
const THEME = "openclaw-provisioner.theme";

const fleet = new Fleet();
const view = { text: "", state: "", version: "", sort: "user", descending: false };
let loading = null;
let loadedAt = 0;
let again = null;

const table = new Table(byId("containers"), byId("scroller"), {
  onOpen: (user) => { location.hash = `#/${encodeURIComponent(user)}`; },
  onSort: (column) => {
    view.descending = view.sort === column && !view.descending;
    view.sort = column;
    table.toTop();
    show();
  },
});

const detail = new Detail(byId("detail"), {
  seen: (container) => { fleet.see(container); show(); },
  gone: (user) => { fleet.remove(user); show(); },
  closed: () => {
    history.pushState(null, "", location.pathname + location.search);
    route();
    table.focus();
  },
});

function show() {
  const entries = fleet.select(view);
  table.show(entries, view);
  const choose = (key) => (value) => {
    view[key] = value;
    table.toTop();
    show();
  };
  const [states, versions] = [fleet.counts("state"), fleet.counts("version")];
  // Each state keeps its place whatever the numbers, so that operators find it again.
  states.sort(([a], [b]) => Object.keys(STATES).indexOf(a) - Object.keys(STATES).indexOf(b));
  showSummary(byId("by-state"), "state", states, view.state, choose("state"));
  showSummary(byId("by-version"), "version", versions, view.version, choose("version"));
  options(byId("filter-state"), [...new Set([...Object.keys(STATES), ...states.map(([name]) => name)])], view.state);
  options(byId("filter-version"), versions.map(([name]) => name), view.version);
  const all = fleet.entries.size;
  const noun = all === 1 ? "container" : "containers";
  const shown = entries.length === all ? `${count(all)} ${noun}` : `${count(entries.length)} of ${count(all)} ${noun}`;
  if (loadedAt > 0 && byId("shown").textContent !== shown) byId("shown").textContent = shown;
  showEmpty(entries.length);
}

/** Says why there are no rows, and offers to look up the typed user: a new one is not in the list yet. */
function showEmpty(rows) {
  const user = view.text.trim();
  const canOpen = /^[A-Za-z0-9_-]{1,64}$/.test(user);
  const text = loadedAt === 0 ? "" : fleet.entries.size === 0 ? "There are no containers yet." : "No container matches.";
  byId("empty").replaceChildren(...(rows > 0 || !text ? [] : [h("p", { class: "muted" }, text,
    canOpen ? h("span", {}, " ", h("a", { href: `#/${user}` }, `Look up “${user}”`)) : null)]));
}

/** Fills a select; leaves it alone if nothing has changed, so that it does not close while the operator uses it. */
function options(select, values, chosen) {
  const wanted = ["", ...values];
  if (chosen && !wanted.includes(chosen)) wanted.push(chosen);
  const present = [...select.options].map((option) => option.value);
  if (JSON.stringify(present) !== JSON.stringify(wanted)) {
    select.replaceChildren(...wanted.map((value) => h("option", { value }, value === "" ? "All" : printable(value))));
  }
  select.value = chosen;
}

async function load(isFresh = false) {
  if (!hasToken() || (loading && !isFresh)) return;
  loading?.abort();
  const mine = new AbortController();
  loading = mine;
  byId("refresh").setAttribute("aria-busy", "true");
  try {
    await fleet.load({
      signal: mine.signal,
      isFresh,
      onPage: (number) => {
        if (loadedAt === 0) byId("shown").textContent = `Loading: ${count(number)} containers so far …`;
      },
    });
    loadedAt = Date.now();
    byId("trouble").replaceChildren();
    show();
    showAge();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === undefined) throw error;
    if (error.status !== 401) byId("trouble").replaceChildren(problemBox(error));
    clearTimeout(again);
    if (error.retryable) again = setTimeout(load, TRY_AGAIN);
  } finally {
    if (loading === mine) {
      loading = null;
      byId("refresh").removeAttribute("aria-busy");
    }
  }
}

function showAge() {
  const { snapshot } = fleet;
  const passed = (from) => Math.max(0, Math.round((Date.now() - from) / 1_000));
  if (!snapshot) return;
  const unread = snapshot.unread_definitions
    ? `; version, size and base of ${count(snapshot.unread_definitions)} not read yet` : "";
  byId("age").textContent = `as of ${passed(snapshot.arrivedAt) + snapshot.age_seconds} s ago${unread}`;
}

/** Shows the user in the address, so that links to a user work and Back closes the detail. */
function route() {
  let user = null;
  try {
    user = location.hash.startsWith("#/") ? decodeURIComponent(location.hash.slice(2)) : null;
  } catch {
    // A truncated address names no user.
  }
  table.mark(user);
  document.body.classList.toggle("has-detail", Boolean(user));
  if (!user) detail.close();
  else if (hasToken() && user !== detail.user) detail.open(user);
}

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
}

function start() {
  const chosen = localStorage.getItem(THEME) ?? "";
  byId("theme").value = chosen;
  theme(chosen);
  byId("theme").addEventListener("change", ({ target }) => {
    localStorage.setItem(THEME, target.value);
    theme(target.value);
  });

  session.addEventListener("forbidden", ({ detail: problem }) => detail.refuse(problem.detail));
  byId("refresh").addEventListener("click", () => load(true));
  byId("skip").addEventListener("click", (event) => { event.preventDefault(); table.focus(); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const key of ["text", "state", "version"]) {
    byId(`filter-${key}`).addEventListener("input", ({ target }) => {
      view[key] = target.value;
      table.toTop();
      show();
    });
  }
  byId("filter-clear").addEventListener("click", () => {
    Object.assign(view, { text: "", state: "", version: "" });
    byId("filter-text").value = "";
    show();
    byId("filter-text").focus();
  });

  window.addEventListener("hashchange", route);
  window.addEventListener("popstate", route);
  setInterval(showAge, 1_000);
  setInterval(() => { if (!document.hidden) load(); }, LOAD_EVERY);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && Date.now() - loadedAt > LOAD_EVERY) load();
  });
  show();
  loadSizes();
  signIn({
    again: () => detail.resume(),
    begin: () => {
      route();
      load();
    },
  });
}

start();
