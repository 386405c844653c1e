// The admin API: answers, and streams of events.
//
// A stream is read by `fetch`, because `EventSource` cannot send the token.

const TOKEN = "weir-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

// What the API has refused, with its problem (RFC 9457).
export class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail || problem.title || `the answer is ${status}`);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function ask(path, options = {}) {
  const headers = { accept: "application/json", ...options.headers };
  if (token.get()) headers.authorization = `Bearer ${token.get()}`;
  const response = await fetch(path, { cache: "no-store", ...options, headers });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refused(response.status, problem, Number(response.headers.get("retry-after")) || 0);
}

export async function get(path) {
  return (await ask(path)).json();
}

export async function send(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "content-type": "application/json" };
  }
  return (await ask(path, options)).json();
}

export const paths = {
  target: (group, address) => `/api/v1/groups/${encodeURIComponent(group)}/targets/${encodeURIComponent(address)}`,
  group: (group) => `/api/v1/groups/${encodeURIComponent(group)}`,
};

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 5000;
// Weir says something every ten seconds.
const SILENCE = 25000;

// Follows a stream until `stop`. `path` gives the path at each new connection; `told` gets the data of each event;
// `changed` gets "live", "lost" with the reason, or "token".
export function follow(path, told, changed) {
  const stopped = new AbortController();
  const run = async () => {
    let pause = FIRST_PAUSE;
    while (!stopped.signal.aborted) {
      try {
        await read(await path(), stopped.signal, told, () => {
          pause = FIRST_PAUSE;
          changed("live");
        });
        if (!stopped.signal.aborted) changed("lost", "the stream has ended");
      } catch (error) {
        if (stopped.signal.aborted) return;
        if (error.status === 401 || error.status === 403) return changed("token", error.message);
        changed("lost", error.message);
        pause = Math.max(pause, (error.retryAfter ?? 0) * 1000);
      }
      await new Promise((done) => setTimeout(done, pause));
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  };
  run();
  return { stop: () => stopped.abort() };
}

async function read(path, stopped, told, begun) {
  const silent = new AbortController();
  let timer = setTimeout(() => silent.abort(), SILENCE);
  const signal = AbortSignal.any([stopped, silent.signal]);
  try {
    const response = await ask(path, { headers: { accept: "text/event-stream" }, signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    begun();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENCE);
      text += value;
      const pieces = text.split("\n\n");
      text = pieces.pop();
      for (const piece of pieces) {
        const data = piece.split("\n").filter((line) => line.startsWith("data: "));
        if (data.length) told(JSON.parse(data.map((line) => line.slice(6)).join("\n")));
      }
    }
  } finally {
    clearTimeout(timer);
  }
}
