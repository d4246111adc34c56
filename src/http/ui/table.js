// The table of containers. Only the visible rows are elements; two spacers stand for the others. The table has the focus
// and names its active row, so that no focus is lost when a row is no longer visible.

import { badge, h, printable, sizeText } from "./dom.js";

/** Height of a row in CSS pixels, as in style.css. */
const ROW = 36;
/** Rows kept ready above and below the visible ones. */
const SPARE = 10;

const COLUMNS = [
  ["user", "User", (entry) => h("a", { href: `#/${encodeURIComponent(entry.user)}`, tabindex: "-1" }, printable(entry.user))],
  ["state", "State", (entry) => badge(entry.state)],
  ["version", "Version", (entry) => printable(entry.version)],
  ["size", "Size", (entry) => sizeText(entry.size)],
  ["base", "Base", (entry) => printable(entry.base)],
  ["reason", "Reason", (entry) => (entry.reason ? printable(entry.reason) : "–")],
];

export class Table {
  #table;
  #scroller;
  #rows = [];
  #made = new Map();
  #active = 0;
  #first = 0;
  #opened = null;
  #onOpen;

  /** `onOpen(user)` when a row is chosen, `onSort(column)` when a heading is. */
  constructor(table, scroller, { onOpen, onSort }) {
    this.#table = table;
    this.#scroller = scroller;
    this.#onOpen = onOpen;
    this.headings = new Map(COLUMNS.map(([key, name]) => {
      const arrow = h("span", { class: "arrow", "aria-hidden": "true" });
      const button = h("button", { type: "button", on: { click: () => onSort(key) } }, name, arrow);
      return [key, h("th", { scope: "col", class: `col-${key}` }, button)];
    }));
    table.tHead.replaceChildren(h("tr", { "aria-rowindex": "1" }, ...this.headings.values()));
    scroller.addEventListener("scroll", () => { if (this.#range().first !== this.#first) this.#draw(); }, { passive: true });
    new ResizeObserver(() => this.#draw()).observe(scroller);
    table.addEventListener("keydown", (event) => this.#key(event));
    table.tBodies[0].addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-at]");
      if (!row) return;
      event.preventDefault();
      this.#active = Number(row.dataset.at);
      this.#open();
    });
  }

  /** Shows these entries; the active row stays with its user, and the scroll position stays. */
  show(entries, { sort, descending }) {
    const user = this.#rows[this.#active]?.user;
    this.#rows = entries;
    const at = entries.findIndex((entry) => entry.user === user);
    this.#active = at >= 0 ? at : Math.max(0, Math.min(this.#active, entries.length - 1));
    for (const [key, heading] of this.headings) {
      const direction = descending ? "descending" : "ascending";
      heading.setAttribute("aria-sort", key === sort ? direction : "none");
    }
    this.#table.setAttribute("aria-rowcount", entries.length + 1);
    this.#draw();
  }

  /** Marks the row of the user whose detail is open; null marks none. */
  mark(user) {
    this.#opened = user;
    const at = this.#rows.findIndex((entry) => entry.user === user);
    if (at >= 0) this.#active = at;
    this.#draw();
  }

  focus() {
    this.#reveal();
    this.#table.focus({ preventScroll: true });
  }

  toTop() {
    this.#active = 0;
    this.#scroller.scrollTop = 0;
  }

  /** The rows to keep ready. The first row changes in steps, so that scrolling seldom creates new ones. */
  #range() {
    const inSight = Math.ceil(this.#scroller.clientHeight / ROW);
    const last = Math.max(0, this.#rows.length - inSight);
    const top = Math.min(Math.floor(this.#scroller.scrollTop / ROW), last);
    const first = Math.max(0, (Math.floor(top / SPARE) - 1) * SPARE);
    return { first, end: Math.min(this.#rows.length, first + inSight + 3 * SPARE) };
  }

  #draw() {
    const body = this.#table.tBodies[0];
    const { first, end } = this.#range();
    this.#first = first;
    const made = new Map();
    const rows = [];
    for (let at = first; at < end; at += 1) {
      const entry = this.#rows[at];
      const before = this.#made.get(entry.user);
      const row = before?.entry === entry ? before.row : makeRow(entry);
      made.set(entry.user, { entry, row });
      row.dataset.at = at;
      row.id = `row-${at}`;
      row.setAttribute("aria-rowindex", at + 2);
      row.setAttribute("aria-selected", String(entry.user === this.#opened));
      row.classList.toggle("active", at === this.#active);
      rows.push(row);
    }
    this.#made = made;
    body.replaceChildren(spacer(first), ...rows, spacer(this.#rows.length - end));
    const isDrawn = this.#active >= first && this.#active < end;
    if (isDrawn) this.#table.setAttribute("aria-activedescendant", `row-${this.#active}`);
    else this.#table.removeAttribute("aria-activedescendant");
  }

  #key(event) {
    // A heading's button has its own keys.
    if (event.target !== this.#table || event.ctrlKey || event.altKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.#scroller.clientHeight / ROW) - 2);
    const last = this.#rows.length - 1;
    const to = {
      ArrowDown: this.#active + 1,
      ArrowUp: this.#active - 1,
      PageDown: this.#active + page,
      PageUp: this.#active - page,
      Home: 0,
      End: last,
    }[event.key];
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#open();
    } else if (to !== undefined && last >= 0) {
      event.preventDefault();
      this.#active = Math.max(0, Math.min(to, last));
      this.#reveal();
    }
  }

  #open() {
    const entry = this.#rows[this.#active];
    if (entry) this.#onOpen(entry.user);
  }

  /** Scrolls until the active row is visible and not behind the fixed headings. */
  #reveal() {
    const { scrollTop, clientHeight } = this.#scroller;
    const head = this.#table.tHead.offsetHeight;
    const top = this.#active * ROW;
    if (top < scrollTop) this.#scroller.scrollTop = top;
    else if (top + ROW + head > scrollTop + clientHeight) this.#scroller.scrollTop = top + ROW + head - clientHeight;
    this.#draw();
  }
}

function makeRow(entry) {
  return h("tr", {}, COLUMNS.map(([key, , cell]) => h("td", { class: `col-${key}` }, cell(entry))));
}

function spacer(rows) {
  const cell = h("td");
  cell.style.height = `${rows * ROW}px`;
  return h("tr", { class: "spacer", role: "presentation", "aria-hidden": "true" }, cell);
}
