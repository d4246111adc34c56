// The summary of the fleet: a bar, and a button for each of its parts that filters by it.

import { STATES, count, h, printable } from "./dom.js";

/** Versions beyond these share a part of the bar. */
const MOST = 6;

/**
 * Fills `root` with the parts `[[name, number], …]`; `chosen` is the current filter, `choose` is called with another part,
 * or with "" to show all.
 */
export function showSummary(root, kind, parts, chosen, choose) {
  const total = parts.reduce((sum, [, number]) => sum + number, 0);
  const shown = parts.slice(0, MOST);
  const others = parts.slice(MOST);
  const classOf = (name, at) => (kind === "state" ? `state-${name in STATES ? name : "unknown"}` : `part-${at}`);
  const bar = h("div", { class: "bar", "aria-hidden": "true" });
  const part = (number, name) => {
    const segment = h("span", { class: name });
    segment.style.flexGrow = number;
    bar.append(segment);
  };
  shown.forEach(([name, number], at) => part(number, classOf(name, at)));
  const left = others.reduce((sum, [, number]) => sum + number, 0);
  if (left > 0) part(left, "part-rest");
  const items = shown.map(([name, number], at) => {
    const isChosen = name === chosen;
    const sign = kind === "state" ? STATES[name] ?? "?" : "■";
    return h("li", {}, h("button", {
      type: "button",
      class: "part",
      "aria-pressed": String(isChosen),
      on: { click: () => choose(isChosen ? "" : name) },
    },
    h("span", { class: `sign ${classOf(name, at)}`, "aria-hidden": "true" }, sign),
    h("span", {}, printable(name)), " ",
    h("strong", {}, count(number)),
    h("span", { class: "muted share" }, ` ${share(number, total)}`)));
  });
  if (left > 0) {
    items.push(h("li", { class: "rest" }, h("span", { class: "sign part-rest", "aria-hidden": "true" }, "■"),
      `${count(others.length)} more `, h("strong", {}, count(left)), " ",
      h("span", { class: "muted share" }, share(left, total))));
  }
  const list = total ? h("ul", {}, items) : h("p", { class: "muted" }, "none");
  // The buttons are created again, so the focus must move to the new one.
  const focused = root.contains(document.activeElement)
    ? [...root.querySelectorAll("button")].indexOf(document.activeElement) : -1;
  root.replaceChildren(bar, list);
  root.querySelectorAll("button")[focused]?.focus();
}

function share(number, total) {
  const percent = (100 * number) / total;
  if (percent > 0 && percent < 1) return "<1 %";
  if (percent > 99 && percent < 100) return ">99 %";
  return `${Math.round(percent)} %`;
}
