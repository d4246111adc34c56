// Creates elements without markup: user ids, ECS's messages and images are texts that others wrote.

export const byId = (id) => document.getElementById(id);

/** Creates an element. A string among the children becomes text, never markup; null is left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value != null) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

/** Makes characters visible that are invisible or reverse the text: controls and bidirectional overrides. */
export function printable(text) {
  return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, "\ufffd");
}

/** Each state with its sign, which is shown beside its colour, in the order of the summary. */
export const STATES = {
  running: "●",
  failed: "✕",
  provisioning: "◐",
  stopping: "▾",
  stopped: "■",
  deleting: "◌",
};

export function badge(state) {
  const known = state in STATES ? state : "unknown";
  const sign = h("span", { "aria-hidden": "true" }, STATES[state] ?? "?");
  return h("span", { class: `badge state-${known}` }, sign, ` ${printable(state)}`);
}

const numbers = new Intl.NumberFormat("en");

export const count = (number) => numbers.format(number);

/** `{cpu, memory_mib}` in words. */
export function sizeText(size) {
  if (!size) return "–";
  const gib = size.memory_mib / 1024;
  return `${size.cpu / 1024} vCPU, ${Number.isInteger(gib) ? gib : gib.toFixed(1)} GiB`;
}

/** `family:revision` of a task definition's ARN. */
export const revisionOf = (arn) => (arn ? String(arn).split("/").pop() : "–");

/** A problem document as a box: the error, its fix, and the code and request id to send when asking for help. */
export function problemBox(problem) {
  const more = [problem.code, problem.requestId && `request ${problem.requestId}`].filter(Boolean).join(" · ");
  return h("div", { class: "notice bad" },
    h("strong", {}, printable(problem.title)),
    problem.detail ? h("p", {}, printable(problem.detail)) : null,
    problem.field ? h("p", {}, "Field: ", h("code", {}, printable(problem.field))) : null,
    problem.fix ? h("p", {}, "Fix: ", printable(problem.fix)) : null,
    problem.retryable ? h("p", {}, "This may be temporary: the same request can be sent again.") : null,
    more ? h("p", { class: "muted small" }, printable(more)) : null);
}
