// The actions on a container. Each asks for confirmation and says what it does.

import { Problem, call, containerPath } from "./api.js";
import { byId, h, problemBox, sizeText } from "./dom.js";

/** Each action: its path, the text of its confirmation, and the states in which it makes sense. */
export const ACTIONS = [
  {
    path: "redeploy",
    name: "Redeploy",
    makesSense: (state) => state !== "deleting",
    says: (container) => (container.state === "failed"
      ? "Starts the container again, from the newest base task definition."
      : "Moves the container to the newest base task definition. If that changes anything, a new task replaces the running "
        + "one, and OpenClaw is not available while it starts."),
    fields: (container) => [checkbox("force", "Restart even if nothing changed", container.state === "failed")],
    body: (form) => ({ force: form.elements.force.checked }),
  },
  {
    path: "resize",
    name: "Resize",
    makesSense: (state) => state !== "deleting",
    says: () => "A new size needs a new task: OpenClaw is not available while it starts. A stopped container stays stopped.",
    fields: (container, sizes) => sizeFields(container.size, sizes),
    body: (form) => ({ cpu: Number(form.elements.cpu.value), memory_mib: Number(form.elements.memory_mib.value) }),
  },
  {
    path: "stop",
    name: "Stop",
    isGrave: true,
    makesSense: (state) => !["stopping", "stopped", "deleting"].includes(state),
    says: () => "Stops the task. The user's files and sign-in stay; nobody can use the container until it is started.",
  },
  {
    path: "start",
    name: "Start",
    makesSense: (state) => ["stopping", "stopped"].includes(state),
    says: () => "Starts a task again, with the user's files as they are.",
  },
  {
    path: "cancel",
    name: "Cancel",
    isGrave: true,
    makesSense: (state) => state === "provisioning",
    says: () => "Cancels this user's pending operations and the deployment in progress: ECS goes back to the deployment before it, "
      + "or to no task if there is none.",
  },
];

let sizes = [];

/** Reads the list of sizes; without it only the current size can be chosen. */
export async function loadSizes() {
  const response = await fetch(new URL("sizes.json", import.meta.url), { credentials: "omit" });
  if (response.ok) sizes = await response.json();
}

/** Asks for confirmation, and sends the action. Returns `{status, body}`, or null when the operator does not confirm. */
export function confirmAndDo(action, container) {
  const dialog = byId("confirm");
  const form = dialog.querySelector("form");
  const [yes, no, trouble] = [byId("confirm-yes"), byId("confirm-no"), byId("confirm-trouble")];
  byId("confirm-title").replaceChildren(`${action.name} `, h("bdi", {}, container.user_id), "?");
  byId("confirm-text").textContent = action.says(container);
  byId("confirm-fields").replaceChildren(...(action.fields?.(container, sizes) ?? []));
  trouble.replaceChildren();
  yes.textContent = action.name;
  yes.className = action.isGrave ? "grave" : "primary";
  yes.disabled = false;
  return new Promise((resolve) => {
    const over = new AbortController();
    let answer = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (yes.disabled) return;
      yes.disabled = true;
      yes.textContent = `${action.name} …`;
      trouble.replaceChildren();
      try {
        const body = action.body?.(form);
        answer = await call("POST", `${containerPath(container.user_id)}/${action.path}`, { body, signal: over.signal });
        dialog.close();
      } catch (error) {
        if (!(error instanceof Problem)) return;
        trouble.replaceChildren(problemBox(error));
        const field = form.elements[error.field];
        field?.setAttribute("aria-invalid", "true");
        field?.focus();
        yes.disabled = error.status === 403;
        yes.textContent = action.name;
      }
    }, { signal: over.signal });
    no.addEventListener("click", () => dialog.close(), { signal: over.signal });
    dialog.addEventListener("close", () => {
      over.abort();
      resolve(answer);
    }, { signal: over.signal });
    dialog.showModal();
    // Focus on a field or the way out: Enter must not confirm a text that was not read.
    (form.querySelector("select, input") ?? no).focus();
  });
}

function checkbox(name, label, checked) {
  return h("label", { class: "check" }, h("input", { type: "checkbox", name, checked }), ` ${label}`);
}

/** Fields for CPU and the memory sizes that it allows. */
function sizeFields(current, all) {
  const known = all.length > 0 ? all : [current].filter(Boolean);
  const cpus = [...new Set(known.map((size) => size.cpu))];
  const option = (value, text, chosen) => h("option", { value, selected: value === chosen }, text);
  const memory = h("select", { name: "memory_mib" });
  const cpu = h("select", { name: "cpu", on: { change: () => fill(Number(memory.value)) } },
    cpus.map((units) => option(units, `${units / 1024} vCPU (${units})`, current?.cpu)));
  const fill = (wanted) => {
    const fitting = known.filter((size) => size.cpu === Number(cpu.value)).map((size) => size.memory_mib);
    const nearest = fitting.findLast((mib) => mib <= wanted) ?? fitting[0];
    memory.replaceChildren(...fitting.map((mib) => option(mib, `${mib / 1024} GiB (${mib} MiB)`, nearest)));
  };
  fill(current?.memory_mib ?? 0);
  return [
    h("p", { class: "muted" }, `Now: ${sizeText(current)}`),
    h("div", { class: "fields" }, h("label", {}, "CPU ", cpu), h("label", {}, "Memory ", memory)),
  ];
}
