// The detail of one container: its progress, the reason of a failure, its properties, and the actions.

import { ACTIONS, confirmAndDo } from "./actions.js";
import { badge, h, printable, problemBox, revisionOf, sizeText } from "./dom.js";
import { follow } from "./follow.js";

/** The phases of a start, in order, in words. */
const PHASES = [
  ["queued", "Accepted"],
  ["access_point", "Access point created"],
  ["task_definition", "Revision registered"],
  ["files_staged", "Sign-in staged"],
  ["service", "Service created"],
  ["task_pending", "Task starting"],
  ["task_running", "Task running"],
  ["healthy", "Task healthy"],
];

export class Detail {
  #root;
  #hooks;
  #parts;
  #following = null;
  #container = null;
  /** The last phase seen during a start; null if no start was seen. */
  #phase = null;
  /** The state after an action: its message is removed when the state changes; null when the message stays. */
  #saidIn = null;
  #refusal = null;
  user = null;

  /** `hooks`: `seen(container)`, `gone(user)` and `closed()`. */
  constructor(root, hooks) {
    this.#root = root;
    this.#hooks = hooks;
    root.addEventListener("keydown", (event) => { if (event.key === "Escape") hooks.closed(); });
  }

  /** Shows a user and follows them until `close` or until another user is opened. */
  open(user) {
    this.close();
    this.user = user;
    this.#build();
    this.#root.hidden = false;
    this.#follow();
    this.#parts.title.focus();
  }

  close() {
    this.#following?.abort();
    this.#following = null;
    this.user = null;
    this.#container = null;
    this.#phase = null;
    this.#saidIn = null;
    this.#root.hidden = true;
    this.#root.replaceChildren();
  }

  /** Continues with a new token. */
  resume() {
    this.#refusal = null;
    if (this.user !== null) this.#follow();
  }

  /** Says why nothing can be changed with this token. */
  refuse(reason) {
    this.#refusal = reason;
    if (this.#container) this.#showActions();
  }

  #build() {
    const title = h("h2", { id: "detail-title", tabindex: "-1" }, h("bdi", {}, printable(this.user)));
    const close = h("button", {
      type: "button",
      class: "close",
      "aria-label": "Close the detail",
      on: { click: () => this.#hooks.closed() },
    }, "✕");
    const buttons = new Map(ACTIONS.map((action) => [action, h("button", {
      type: "button",
      disabled: true,
      "aria-describedby": "refusal",
      class: action.isGrave ? "grave" : "",
      on: { click: () => this.#act(action) },
    }, action.name)]));
    this.#parts = {
      title,
      buttons,
      state: h("p", { class: "state-line" }, h("span", { class: "muted" }, "Looking …")),
      link: h("span", { class: "muted small link" }),
      said: h("div", { role: "status" }),
      trouble: h("div", { role: "alert" }),
      refusal: h("p", { id: "refusal", class: "muted small" }),
      words: h("p", { role: "status", class: "words" }),
      progress: h("div", {}),
      reason: h("div", { role: "alert" }),
      facts: h("div", {}),
    };
    const { state, link, said, trouble, refusal, words, progress, reason, facts } = this.#parts;
    this.#root.replaceChildren(
      h("div", { class: "detail-head" }, title, close),
      state, said, trouble, reason, words, progress,
      h("div", { class: "buttons", role: "group", "aria-label": "Actions" }, ...buttons.values()),
      refusal, facts);
  }

  #follow() {
    this.#following?.abort();
    this.#following = new AbortController();
    const user = this.user;
    follow(user, this.#following.signal, {
      see: (container) => this.#see(container),
      progress: (status) => this.#see({ ...this.#container, ...status }),
      link: (text) => { this.#parts.link.textContent = text; },
      lose: (problem) => this.#lose(user, problem),
    });
  }

  #see(container) {
    // Progress from an earlier event is not part of a look: remove it.
    if (container.percent === undefined) container = { ...container, percent: null, message: null };
    this.#container = container;
    this.#parts.trouble.replaceChildren();
    if (container.state === "provisioning") this.#phase = container.phase ?? this.#phase;
    else if (container.state === "running") this.#phase &&= "healthy";
    else if (container.state !== "failed") this.#phase = null;
    // The message of an action is over once the container is in another state.
    if (this.#saidIn !== null && container.state !== this.#saidIn) this.#parts.said.replaceChildren();
    this.#showState();
    this.#showProgress();
    this.#showReason();
    this.#showActions();
    this.#showFacts();
    this.#hooks.seen(container);
  }

  #lose(user, problem) {
    if (problem.status === 404) {
      this.#container = null;
      this.#parts.state.replaceChildren(h("span", { class: "muted" }, "There is no container of this user."));
      for (const part of ["progress", "words", "reason", "facts", "link", "refusal"]) this.#parts[part].replaceChildren();
      for (const button of this.#parts.buttons.values()) button.disabled = true;
      this.#hooks.gone(user);
    } else if (problem.status !== 401) {
      this.#parts.trouble.replaceChildren(problemBox(problem));
    }
  }

  #showState() {
    this.#parts.state.replaceChildren(badge(this.#container.state), " ", this.#parts.link);
  }

  #showProgress() {
    const { state, percent, message } = this.#container;
    const words = state === "provisioning" || state === "stopping" || state === "deleting"
      ? [message ?? "on its way", percent == null ? null : `${percent} %`].filter(Boolean).join(" – ") : "";
    // Screen readers read out only changes.
    if (this.#parts.words.textContent !== words) this.#parts.words.textContent = words;
    if (this.#phase === null) {
      this.#parts.progress.replaceChildren();
      return;
    }
    const reached = PHASES.findIndex(([phase]) => phase === this.#phase);
    const bar = state === "provisioning"
      ? h("progress", { max: "100", value: percent, "aria-label": "Progress" }) : null;
    const items = PHASES.map(([, text], at) => {
      const isAt = at === reached && state !== "running";
      const [mark, name] = at < reached || (at === reached && state === "running") ? ["✓", "done"]
        : !isAt ? ["·", "to come"]
          : state === "failed" ? ["✕", "last seen here"] : ["◐", "now"];
      return h("li", { class: `phase-${name.split(" ")[0]}`, "aria-current": isAt ? "step" : null },
        h("span", { class: "mark", "aria-hidden": "true" }, mark), text,
        h("span", { class: state === "failed" && isAt ? null : "hidden" }, ` (${name})`));
    });
    this.#parts.progress.replaceChildren(...[bar, h("ol", { class: "phases" }, items)].filter(Boolean));
  }

  #showReason() {
    const { reason } = this.#container;
    const key = JSON.stringify(reason ?? null);
    const root = this.#parts.reason;
    // Screen readers read an alert out again when it is created again.
    if (root.dataset.key === key) return;
    root.dataset.key = key;
    if (!reason) {
      root.replaceChildren();
      return;
    }
    const more = [
      reason.exit_code == null ? null : `exit code ${reason.exit_code}`,
      reason.stopped_at ? `stopped ${when(reason.stopped_at)}` : null,
    ].filter(Boolean).join(" · ");
    root.replaceChildren(h("div", { class: NOBODYS_FAULT.includes(reason.code) ? "notice warn" : "notice bad" },
      h("strong", {}, printable(String(reason.code).replaceAll("_", " "))),
      h("p", {}, printable(reason.message)),
      reason.hint ? h("p", { class: "hint" }, h("strong", {}, "What to do: "), printable(reason.hint)) : null,
      more ? h("p", { class: "muted small" }, more) : null));
  }

  #showActions() {
    for (const [action, button] of this.#parts.buttons) {
      button.disabled = this.#refusal !== null || !action.makesSense(this.#container.state);
    }
    this.#parts.refusal.textContent = this.#refusal === null
      ? "" : `Nothing can be changed with this token: ${printable(this.#refusal)}`;
  }

  #showFacts() {
    const container = this.#container;
    const signIn = [container.credentials, container.reauth_required ? "the user has to sign in again" : null];
    const facts = [
      ["Version", container.openclaw_version ?? "unknown"],
      ["Image", container.image],
      ["Size", sizeText(container.size)],
      ["Gateway", container.ready ? "ready" : "not ready"],
      ["Sign-in", signIn.filter(Boolean).join("; ").replaceAll("_", " ")],
      ["Revision", revisionOf(container.task_definition)],
      ["Base", revisionOf(container.base_task_definition)],
      ["Service", container.service],
    ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, printable(value || "–"))));
    const warnings = (container.warnings ?? []).map((warning) =>
      h("div", { class: "notice warn" },
        h("strong", {}, printable(warning.code.replaceAll("_", " "))),
        h("p", {}, printable(warning.message))));
    this.#parts.facts.replaceChildren(...warnings, h("dl", {}, facts));
  }

  async #act(action) {
    const user = this.user;
    const answer = await confirmAndDo(action, this.#container);
    if (this.user !== user || answer === null) return;
    this.#saidIn = answer.body.cancelled ? null : answer.body.state;
    this.#see(answer.body);
    this.#parts.said.replaceChildren(h("p", { class: "notice good" }, told(action, answer)));
    this.#follow();
    if (document.activeElement === document.body) this.#parts.title.focus();
  }
}

/** Reasons after which ECS starts a new task by itself. */
const NOBODYS_FAULT = ["stopped_by_user", "retired_by_aws"];

function told(action, { status, body }) {
  if (body.cancelled) {
    const { operations, deployment, at_work_elsewhere: elsewhere } = body.cancelled;
    const other = elsewhere ? " One of them was another replica's." : "";
    if (operations === 0 && !deployment) return "Nothing was under way.";
    const how = deployment ? `; deployment ${deployment.replaceAll("_", " ")}` : "";
    return `Cancelled ${operations} operation${operations === 1 ? "" : "s"}${how}.${other}`;
  }
  return status === 200 ? `${action.name}: there was nothing to change.` : `${action.name}: accepted, and on its way.`;
}

function when(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? printable(text) : date.toLocaleString();
}
