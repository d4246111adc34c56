// Loaded into the import by NODE_OPTIONS: the network is what FAKE_NETWORK says, and KILL_AT=n ends the process, as
// SIGKILL does, right before its nth change to the file system.

import { EventEmitter } from "node:events";
import fs from "node:fs";
import https from "node:https";
import { syncBuiltinESMExports } from "node:module";
import path from "node:path";

const answers = { up: [404, {}], challenge: [403, { "cf-mitigated": "challenge" }], forbidden: [403, {}] };
const errors = { dns: "ENOTFOUND", tls: "UNABLE_TO_VERIFY_LEAF_SIGNATURE", refused: "ECONNREFUSED", silent: "ETIMEDOUT" };

https.get = (url, _options, onResponse) => {
  fs.appendFileSync(path.join(process.env.FAKE_STATE, "calls"), `GET ${url}\n`);
  const request = Object.assign(new EventEmitter(), { destroy: () => request.emit("close") });
  const answer = answers[process.env.FAKE_NETWORK];
  setImmediate(() => {
    if (answer) onResponse({ statusCode: answer[0], headers: answer[1], resume() {} });
    else request.emit("error", Object.assign(new Error("no"), { code: errors[process.env.FAKE_NETWORK] }));
  });
  return request;
};

// No waiting between two tries.
const { setTimeout } = globalThis;
if (process.argv[1]?.endsWith("import.mjs")) globalThis.setTimeout = (then, ms) => setTimeout(then, ms / 20);

if (process.env.KILL_AT && process.argv[1]?.endsWith("import.mjs")) {
  let left = Number(process.env.KILL_AT);
  for (const name of ["renameSync", "rmSync", "writeSync", "fsyncSync"]) {
    const real = fs[name];
    fs[name] = (...args) => {
      left -= 1;
      if (left < 0) process.kill(process.pid, "SIGKILL");
      return real(...args);
    };
  }
}
syncBuiltinESMExports();
