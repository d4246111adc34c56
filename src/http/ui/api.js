// The page's client of the HTTP API: the token, problem documents, and server-sent events.

/** The API's root, from this file's own address: the page may be served below a path prefix. */
const ROOT = new URL("../", import.meta.url);
const TOKEN = "openclaw-provisioner.token";

/** Sends the events `unauthorized` (the token is not accepted) and `forbidden` (it may not change anything). */
export const session = new EventTarget();

let token = sessionStorage.getItem(TOKEN) ?? "";

export const hasToken = () => token !== "";

export function useToken(text) {
  token = text;
  sessionStorage.setItem(TOKEN, text);
}

export function forgetToken() {
  token = "";
  sessionStorage.removeItem(TOKEN);
}

/** An error from the service or from the network. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? document.title);
    this.status = status;
    this.title = document.title ?? "The service refused";
    this.detail = document.detail;
    this.code = document.code;
    this.field = document.field;
    this.fix = document.fix;
    this.retryable = document.retryable ?? false;
    this.requestId = document.request_id;
  }
}

export const containerPath = (user) => `containers/${encodeURIComponent(user)}`;

async function send(method, path, { body, signal, headers = {} } = {}) {
  const request = {
    method,
    signal,
    cache: "no-store",
    credentials: "omit",
    headers: { ...headers, authorization: `Bearer ${token}` },
  };
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers["content-type"] = "application/json";
  }
  const sentWith = token;
  let response;
  try {
    response = await fetch(new URL(path, ROOT), request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable(error);
  }
  if (response.ok) return response;
  const document = await response.json().catch(() => ({}));
  const title = `The service answered ${response.status}`;
  const problem = new Problem(response.status, { title, ...document });
  // If the token was replaced meanwhile, the answer says nothing about the new one.
  const told = sentWith === token ? { 401: "unauthorized", 403: "forbidden" }[response.status] : undefined;
  if (told) session.dispatchEvent(new CustomEvent(told, { detail: problem }));
  throw problem;
}

function unreachable(error) {
  return new Problem(0, { title: "The service did not answer", detail: error.message, retryable: true });
}

/** Sends a request; returns `{status, body}`. Throws a `Problem`, or AbortError when `signal` aborts. */
export async function call(method, path, options) {
  const response = await send(method, path, options);
  try {
    return { status: response.status, body: await response.json() };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable(error);
  }
}

/**
 * The server-sent events of one connection, each `{type, id, data}`; null when the server has no more events (204).
 * EventSource cannot send the token.
 */
export async function events(path, { lastId, signal }) {
  const headers = { accept: "text/event-stream", ...(lastId && { "last-event-id": lastId }) };
  const response = await send("GET", path, { signal, headers });
  return response.status === 204 ? null : parse(response.body.pipeThrough(new TextDecoderStream()));
}

async function* parse(chunks) {
  let rest = "";
  let event = { type: "message", id: "", data: [] };
  for await (const chunk of iterate(chunks)) {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop();
    for (const line of lines.map((line) => line.replace(/\r$/, ""))) {
      if (line === "") {
        if (event.data.length > 0) yield { ...event, data: event.data.join("\n") };
        event = { type: "message", id: event.id, data: [] };
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") event.type = value;
      else if (field === "id") event.id = value;
      else if (field === "data") event.data.push(value);
    }
  }
}

/** Loops over a stream; not every browser can do this itself. */
async function* iterate(stream) {
  const reader = stream.getReader();
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
  } finally {
    await reader.cancel().catch(() => {});
  }
}
