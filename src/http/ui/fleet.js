// All containers, from the list: fetched page by page, then sorted and filtered here.

import { call } from "./api.js";
import { revisionOf } from "./dom.js";

/** The largest page of the API. */
const PAGE = 1_000;

export const NO_VERSION = "unknown";

/** The data of one container from the list, with the text that the filter searches. */
function entryOf(raw) {
  const version = raw.openclaw_version ?? NO_VERSION;
  const reason = raw.reason_code ?? "";
  const base = raw.base_revision ?? "–";
  return {
    user: raw.user_id,
    state: raw.state,
    version,
    base,
    size: raw.size ?? null,
    reason,
    text: `${raw.user_id}\n${reason}\n${base}`.toLowerCase(),
  };
}

const byText = new Intl.Collator("en", { numeric: true }).compare;
const sizeOf = (entry) => (entry.size ? entry.size.cpu * 1e6 + entry.size.memory_mib : -1);
const ORDERS = {
  user: (a, b) => byText(a.user, b.user),
  state: (a, b) => byText(a.state, b.state),
  version: (a, b) => byText(a.version, b.version),
  base: (a, b) => byText(a.base, b.base),
  size: (a, b) => sizeOf(a) - sizeOf(b),
  reason: (a, b) => byText(a.reason, b.reason),
};

export class Fleet {
  entries = new Map();
  snapshot = null;
  /** Containers seen one by one, by user, each with its time: it counts while the snapshot is older. */
  #seen = new Map();

  /** Fetches all pages; `isFresh` also asks AWS again. The old list stays until all pages have arrived. */
  async load({ signal, isFresh, onPage }) {
    const entries = new Map();
    let cursor = null;
    let snapshot = null;
    do {
      const query = new URLSearchParams({ limit: PAGE });
      if (cursor) query.set("cursor", cursor);
      if (isFresh && !cursor) query.set("fresh", "true");
      const { body } = await call("GET", `containers?${query}`, { signal });
      for (const raw of body.containers) entries.set(raw.user_id, entryOf(raw));
      snapshot = body.snapshot;
      cursor = body.next_cursor;
      onPage?.(entries.size);
    } while (cursor);
    this.entries = entries;
    this.snapshot = { ...snapshot, arrivedAt: Date.now() };
    // From the age, because the two clocks may differ. Its seconds are rounded down, so one second is added.
    const takenAt = Date.now() - (snapshot.age_seconds + 1) * 1_000;
    for (const [user, { at, raw }] of this.#seen) {
      if (at > takenAt) this.entries.set(user, entryOf(raw));
      else this.#seen.delete(user);
    }
  }

  /** Takes in a container from a look or an event. */
  see(container) {
    const { user_id, state, openclaw_version, base_task_definition, size, reason } = container;
    const raw = {
      user_id, state, openclaw_version, size,
      base_revision: base_task_definition ? revisionOf(base_task_definition) : null,
      reason_code: reason?.code ?? null,
    };
    this.#seen.set(user_id, { at: Date.now(), raw });
    this.entries.set(user_id, entryOf(raw));
  }

  /** Forgets a container that is gone. */
  remove(user) {
    this.#seen.delete(user);
    this.entries.delete(user);
  }

  /** The number of containers for each value of `key`, the most frequent first. */
  counts(key) {
    const counts = new Map();
    for (const entry of this.entries.values()) counts.set(entry[key], (counts.get(entry[key]) ?? 0) + 1);
    return [...counts].sort(([a, m], [b, n]) => n - m || byText(a, b));
  }

  /** The containers that match all filters, in the chosen order; equal ones are in the order of their users. */
  select({ text, state, version, sort, descending }) {
    const words = text.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const found = [...this.entries.values()].filter((entry) =>
      (!state || entry.state === state)
      && (!version || entry.version === version)
      && words.every((word) => entry.text.includes(word)));
    const order = ORDERS[sort];
    const sign = descending ? -1 : 1;
    return found.sort((a, b) => sign * order(a, b) || ORDERS.user(a, b));
  }
}
