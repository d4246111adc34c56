// Following one container: the events while it is on its way, and a look now and then once it has arrived.

import { Problem, call, containerPath, events } from "./api.js";

/**
 * How soon, and how seldom at last, a container at rest is looked at again, in milliseconds: soon after an action, because
 * what it set going need not show at once.
 */
const [LOOK_FIRST, LOOK_MOST] = [2_000, 15_000];
/** The shortest and the longest wait before a lost connection is opened again, in milliseconds. */
const [RETRY_FIRST, RETRY_MOST] = [1_000, 15_000];

const MOVING = ["provisioning", "stopping", "deleting"];

/**
 * Follows `user` until `signal`: `see(container)` with all of it, `progress(status)` with each event, `link(words)` with
 * how the connection is, `lose(problem)` when a look fails. Ends by itself only when asking again is of no use.
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
        // Not at once: should the two ways to look disagree, this would ask without end.
        await pause(RETRY_FIRST, signal);
        continue;
      }
    } catch (error) {
      if (signal.aborted) return;
      // A connection that breaks is nothing to report: it is opened again.
      if (error instanceof Problem) lose(error);
      // A token that is not accepted, nobody to look at, no user id: asking again changes nothing.
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
