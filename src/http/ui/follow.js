// Follows one container: reads events while it changes, and looks at it from time to time when it does not.

import { Problem, call, containerPath, events } from "./api.js";

/**
 * The shortest and the longest time between two looks at a container that does not change, in milliseconds. Short after an
 * action, because its effect may not show at once.
 */
const [LOOK_FIRST, LOOK_MOST] = [2_000, 15_000];
/** The shortest and the longest wait before a lost connection is opened again, in milliseconds. */
const [RETRY_FIRST, RETRY_MOST] = [1_000, 15_000];

const MOVING = ["provisioning", "stopping", "deleting"];

/**
 * Follows `user` until `signal` aborts. Calls `see(container)` after each look, `progress(status)` for each event, `link(words)`
 * with the state of the connection, and `lose(problem)` when a look fails. Ends by itself only when a retry is useless.
 */
export async function follow(user, signal, { see, progress, link, lose }) {
  let wait = RETRY_FIRST;
  let rest = LOOK_FIRST;
  let lastId;
  const look = async () => {
    const { body } = await call("GET", containerPath(user), { signal });
    see(body);
    return body;
  };
  while (!signal.aborted) {
    try {
      const seen = await look();
      if (!MOVING.includes(seen.state)) {
        link("up to date");
        lastId = undefined;
        wait = RETRY_FIRST;
        await pause(rest, signal);
        rest = Math.min(rest * 2, LOOK_MOST);
        continue;
      }
      rest = LOOK_FIRST;
      const stream = await events(`${containerPath(user)}/events`, { lastId, signal });
      if (!stream) {
        lastId = undefined;
        continue;
      }
      link("live");
      let isDone = false;
      for await (const event of stream) {
        wait = RETRY_FIRST;
        lastId = event.id || lastId;
        if (event.type === "status") progress(JSON.parse(event.data));
        isDone = event.type === "done";
        if (isDone) break;
      }
      if (isDone) {
        // Pause first: if events and look disagree, this would loop without pause.
        await pause(RETRY_FIRST, signal);
        continue;
      }
    } catch (error) {
      if (signal.aborted) return;
      // A broken connection is not reported: it is opened again.
      if (error instanceof Problem) lose(error);
      // The token is not accepted, there is no container, or the user id is not valid: a retry is useless.
      if ([401, 403, 404, 422].includes(error.status)) return;
    }
    link(`connecting again in ${wait / 1000} s`);
    await pause(wait, signal);
    wait = Math.min(wait * 2, RETRY_MOST);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
