/* The server's API, as this page uses it. Addresses are relative to the page, so that it works below a proxy's path. */

export const BASE = new URL("v1", document.baseURI).href;

/** What the server refused or failed at, in its own words. */
export class ServerError extends Error {
  constructor(error, status, request) {
    super(error.message);
    this.code = error.code;
    this.param = error.param;
    this.status = status; // undefined if it came in the middle of a stream
    this.request = request;
  }
}

function headers(key) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function refusal(response) {
  const request = response.headers.get("X-Request-Id");
  const text = await response.text();
  let error;
  try {
    error = JSON.parse(text).error;
  } catch {
    error = undefined; // not our server's words: a proxy's, perhaps
  }
  return new ServerError(error ?? { message: text.slice(0, 500) || response.statusText, code: null, param: null }, response.status, request);
}

/** The model's entry in /v1/models. */
export async function model(key) {
  const response = await fetch(`${BASE}/models`, { headers: headers(key) });
  if (!response.ok) throw await refusal(response);
  return (await response.json()).data[0];
}

/** "ready", "loading" or "draining". */
export async function state() {
  const response = await fetch(new URL("ready", document.baseURI));
  return (await response.json()).status;
}

/** The chunks of a streamed answer. */
export async function* ask(body, key, signal) {
  const response = await fetch(`${BASE}/chat/completions`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers(key) },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw await refusal(response);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ServerError(chunk.error, undefined, response.headers.get("X-Request-Id"));
    yield chunk;
  }
  throw new ServerError({ message: "The connection ended in the middle of the answer.", code: null, param: null });
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith("data:")) yield line.slice(5).trim(); // the rest are comments and names
      }
    }
  } finally {
    await reader.cancel();
  }
}
