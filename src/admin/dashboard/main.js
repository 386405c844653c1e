// The dashboard: what it knows, where it gets that from, and what its buttons do.

import { follow, get, paths, send, token } from "./api.js";
import { pointed } from "./charts.js";
import { h, morph } from "./dom.js";
import { findings, isSerious } from "./findings.js";
import { span, words } from "./format.js";
import * as views from "./views.js";

const VIEWS = [
  ["overview", "Overview", views.overview],
  ["groups", "Groups", views.groups],
  ["replicas", "Replicas", views.replicas],
  ["scaling", "Scaling", views.scaling],
  ["rules", "Rules", views.rules],
  ["events", "Events", views.events],
  ["config", "Configuration", views.config],
];

// Points of charts come every five seconds, and decisions as often as it scales.
const REFRESH = 5000;
const TICK = 1000;
const MOST_EVENTS = 2000;
const MINUTE = 60000;

const state = {
  status: null,
  history: null,
  autoscaling: null,
  log: null,
  events: [],
  // Earlier statuses of the last minute, oldest first: how much requests count up is known by their difference.
  earlier: [],
  rates: {},
  link: "waiting",
  why: "",
  token: token.get(),
  range: Number(localStorage.getItem("weir-range")) || 15,
  filter: { kind: "", group: "", severe: false, target: "", trouble: false },
  opened: new Set(),
  explained: null,
  // How far the clock of this browser is behind that of Weir.
  behind: 0,
  now: Date.now(),
  uptime: 0,
};

// ---- What comes in

function gotStatus(status) {
  const at = Date.parse(status.now);
  state.behind = at - Date.now();
  if (state.status && (state.status.pid !== status.pid || state.status.started !== status.started)) {
    Object.assign(state, { earlier: [], history: null, events: [] });
    refresh();
  }
  state.status = status;
  state.earlier = state.earlier.filter((old) => at - old.at < MINUTE);
  state.earlier.push({ at, status });
  measure();
  render();
}

// Requests within a second, of the last five seconds.
function measure() {
  const now = Date.now() + state.behind;
  const before = state.earlier.findLast((old) => now - old.at >= 4500) ?? state.earlier[0];
  const last = state.earlier.at(-1);
  if (!before || !last || last === before) {
    // Nothing has changed for a while, or this is the first one.
    state.rates = last && now - last.at >= 4500 ? { all: 0, "5xx": 0, "4xx": 0, client_gone: 0 } : fromHistory();
    return;
  }
  const seconds = Math.max(1, (now - before.at) / 1000);
  const rates = { all: 0, "5xx": 0, "4xx": 0, client_gone: 0 };
  for (const [name, total] of Object.entries(last.status.responses)) {
    rates[name] = Math.max(0, (total - (before.status.responses[name] ?? 0)) / seconds);
    rates.all += rates[name];
  }
  state.rates = rates;
}

function fromHistory() {
  const all = state.history?.all;
  return all ? { all: all.requests.at(-1), "5xx": all.errors.at(-1) } : {};
}

function gotEvents(list) {
  const known = new Set(state.events.map((event) => event.sequence));
  const merged = [...state.events, ...list.filter((event) => !known.has(event.sequence))];
  merged.sort((one, other) => one.sequence - other.sequence);
  state.events = merged.slice(-MOST_EVENTS);
  render();
}

function gotHistory(history) {
  history.times = history.at.map((time) => Date.parse(time));
  state.history = state.history ? joined(state.history, history) : history;
  render();
}

// The points of one, then those of the other that are newer; no more than an hour.
function joined(old, fresh) {
  const last = old.times.at(-1) ?? 0;
  const from = fresh.times.findIndex((time) => time > last);
  if (from < 0) return old;
  const most = 720;
  const column = (one, other) => {
    const before = one ?? new Array(old.times.length).fill(null);
    const after = other ?? new Array(fresh.times.length).fill(null);
    return [...before, ...after.slice(from)].slice(-most);
  };
  const object = (one, other) => {
    const made = {};
    for (const name of new Set([...Object.keys(one ?? {}), ...Object.keys(other ?? {})])) {
      const [before, after] = [one?.[name], other?.[name]];
      made[name] = Array.isArray(before ?? after) ? column(before, after) : object(before, after);
    }
    return made;
  };
  return { ...object({ all: old.all, groups: old.groups, times: old.times }, { all: fresh.all, groups: fresh.groups, times: fresh.times }), interval_seconds: fresh.interval_seconds };
}

let refreshed = 0;

async function refresh() {
  refreshed = Date.now();
  try {
    gotHistory(await get(state.history?.times.length ? "/api/v1/history?minutes=1" : "/api/v1/history"));
    if (view() === "scaling") state.autoscaling = await get("/api/v1/autoscaling?last=20");
    if (view() === "config") state.log = (await get("/api/v1/log-level").catch(() => null))?.level;
    render();
  } catch {
    // The streams tell that Weir is away, and what it refuses.
  }
}

async function eventsPath() {
  const newest = await get("/api/v1/events?limit=500");
  if (newest.last < (state.events.at(-1)?.sequence ?? 0)) state.events = [];
  gotEvents(newest.events);
  return `/api/v1/events?since=${newest.last}`;
}

let streams = [];

function connect() {
  disconnect();
  if (document.hidden) return;
  const changed = (link, why = "") => {
    Object.assign(state, { link, why });
    render();
    if (link === "token") openToken(why);
  };
  streams = [
    follow(async () => "/api/v1/status", gotStatus, changed),
    follow(eventsPath, (event) => gotEvents([event]), () => {}),
  ];
  refresh();
}

function disconnect() {
  for (const stream of streams) stream.stop();
  streams = [];
}

// ---- What is shown

function view() {
  const name = location.hash.slice(1).split("/")[0];
  return VIEWS.some(([known]) => known === name) ? name : "overview";
}

let isDue = false;

function render() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    draw();
  });
}

function draw() {
  const { status } = state;
  state.now = Date.now() + state.behind;
  state.uptime = status ? (state.now - Date.parse(status.started)) / 1000 : 0;
  const shown = view();
  const serious = findings(state).filter(isSerious);
  document.title = `${serious.length ? `(${serious.length}) ` : ""}${VIEWS.find(([name]) => name === shown)[1]} – Weir`;
  drawTop(shown, serious);
  const main = document.getElementById("main");
  const next = h("main", { id: "main", tabindex: -1, "data-view": shown, "aria-busy": String(!status) },
    h("h1", { class: "hidden" }, VIEWS.find(([name]) => name === shown)[1]),
    status ? VIEWS.find(([name]) => name === shown)[2](state) : h("p", { class: "empty" }, state.why || "Asking Weir for its status …"));
  if (main.dataset.view !== shown) main.replaceWith(next);
  else morph(main, next);
}

const LINKS = { live: ["good", "live"], waiting: ["off", "connecting"], lost: ["error", "not connected"], token: ["warning", "token needed"] };

function drawTop(shown, serious) {
  const { status } = state;
  const [level, text] = LINKS[state.link];
  morph(document.getElementById("live"), h("span", { id: "live", role: "status", class: `link ${level}`, title: state.why },
    h("span", { class: "dot", "aria-hidden": true }), text));
  morph(document.getElementById("process"), h("div", { id: "process" }, status && [
    h("span", null, status.version), h("span", { class: status.phase === "serving" ? null : "bad" }, words(status.phase)), h("span", null, `up ${span(state.uptime)}`)]));
  morph(document.getElementById("views"), h("nav", { "aria-label": "Views", id: "views" }, VIEWS.map(([name, title]) =>
    h("a", { href: `#${name}`, "aria-current": name === shown ? "page" : null, "data-key": name }, title,
      name === "overview" && serious.length > 0 && h("span", { class: `badge ${serious[0].severity}` }, String(serious.length))))));
  const button = document.getElementById("token");
  button.textContent = state.token ? "Token ✓" : "Token";
  button.title = state.token ? "A token is kept in this tab: targets can be changed" : "Give the token of the admin listener, to change targets";
}

// ---- What is done

let told = null;

function toast(text, level = "good") {
  const place = document.getElementById("toast");
  place.className = level;
  place.textContent = text;
  clearTimeout(told);
  told = setTimeout(() => (place.textContent = ""), 8000);
}

async function change(method, path, body) {
  try {
    const answer = await send(method, path, body);
    toast(answer.message ?? "Done.");
    return answer;
  } catch (error) {
    toast(error.message, "error");
    return null;
  }
}

// Asks in a dialog; gives the values of its fields, or `null`.
function askUser(title, text, fields, action) {
  const dialog = document.getElementById("dialog");
  const form = h("form", { method: "dialog" },
    h("h2", { id: "dialog-title" }, title), h("p", null, text), fields,
    h("p", { class: "buttons" }, h("button", { type: "submit", value: "no", formnovalidate: true }, "Cancel"), h("button", { type: "submit", value: "yes", class: "primary" }, action)));
  dialog.replaceChildren(form);
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  (form.querySelector("input") ?? form.querySelector(".primary")).focus();
  return new Promise((done) => {
    dialog.onclose = () => done(dialog.returnValue === "yes" ? new FormData(form) : null);
  });
}

// The submit button that comes first is what the Enter key presses, and it is `Cancel`.
document.getElementById("dialog").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
  event.preventDefault();
  event.target.form.requestSubmit(event.target.form.querySelector(".primary"));
});

async function openToken(why) {
  const text = why || "The token of the admin listener (`admin.token` of the configuration) allows to drain targets and to change weights and the log level. It is kept until this tab is closed.";
  const given = await askUser("Token", text, h("label", null, "Token", h("input", { name: "token", type: "password", autocomplete: "off", value: state.token })), "Use it");
  if (!given) return;
  token.set(given.get("token").trim());
  state.token = token.get();
  connect();
  render();
}

const ACTS = {
  theme: nextTheme,
  token: () => openToken(""),
  range: ({ minutes }) => {
    state.range = Number(minutes);
    localStorage.setItem("weir-range", minutes);
  },
  open: ({ key }) => (state.opened.has(key) ? state.opened.delete(key) : state.opened.add(key)),
  drain: async ({ group, address }) => {
    const sure = await askUser(`Drain ${address}?`, `It gets no new requests of group ${group} until it is taken back. Requests that it has are finished.`, null, "Drain");
    if (sure) await change("POST", `${paths.target(group, address)}/drain`);
  },
  register: ({ group, address }) => change("PUT", paths.target(group, address)),
  weight: async ({ group, address, weight }) => {
    const field = h("label", null, "Weight, 0 to 999", h("input", { name: "weight", type: "number", min: 0, max: 999, required: true, value: weight }));
    const given = await askUser(`Weight of ${address}`, `Its share of the requests of group ${group}. With 0 it gets no new ones.`, field, "Set");
    if (given) await change("PATCH", paths.target(group, address), { weight: Number(given.get("weight")) });
  },
  restart: async ({ group, replica }) => {
    const sure = await askUser(`Restart replica ${replica}?`, `It is drained first; group ${group} has one replica less until it is back.`, null, "Restart");
    if (sure) await change("POST", `${paths.group(group)}/replicas/${encodeURIComponent(replica)}/restart`);
  },
  desired: async ({ group, desired }) => {
    const field = h("label", null, "Replicas", h("input", { name: "desired", type: "number", min: 0, required: true, value: desired }));
    const given = await askUser(`Replicas of ${group}`, "How many there should be, within the bounds of the configuration. Autoscaling may decide otherwise next.", field, "Set");
    if (given) await change("PUT", `${paths.group(group)}/desired`, { desired: Number(given.get("desired")) });
  },
  maintenance: async ({ group }) => {
    const field = h("label", null, "Clients may try again after, in seconds", h("input", { name: "after", type: "number", min: 1, max: 604800, required: true, value: 60 }));
    const given = await askUser(`Maintenance of ${group}?`, "New requests are answered with 503 until it is ended. Requests that have begun go on, and so do the checks.", field, "Begin");
    if (given) await change("PUT", `${paths.group(group)}/maintenance`, { enabled: true, retry_after: Number(given.get("after")) });
  },
  ready: ({ group }) => change("DELETE", `${paths.group(group)}/maintenance`),
  reload: () => change("POST", "/api/v1/reload"),
};

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-act]");
  if (!button) return;
  await ACTS[button.dataset.act]({ ...button.dataset });
  render();
});

document.addEventListener("input", (event) => {
  if (!event.target.closest("form.filters")) return;
  const { name, type, checked, value } = event.target;
  state.filter[name] = type === "checkbox" ? checked : value;
  if (name === "kind" || name === "group") older();
  render();
});

// Events that the filter asks for and that are older than those of this page.
async function older() {
  const { kind, group } = state.filter;
  const query = [kind && `kinds=${kind}`, group && `group=${encodeURIComponent(group)}`].filter(Boolean);
  if (query.length) gotEvents((await get(`/api/v1/events?${query.join("&")}&limit=500`).catch(() => ({ events: [] }))).events);
}

document.addEventListener("submit", async (event) => {
  if (event.target.id !== "explain" && event.target.id !== "log" && !event.target.matches("form.filters")) return;
  event.preventDefault();
  const given = new FormData(event.target);
  if (event.target.id === "log") {
    const answer = await change("PUT", "/api/v1/log-level", { level: given.get("level").trim() });
    if (answer) {
      state.log = answer.level;
      toast(`The log has the level ${answer.level} now.`);
    }
  }
  if (event.target.id === "explain") await explain(given);
  render();
});

async function explain(given) {
  const text = given.get("request").trim();
  const [method, url] = /^[A-Z]+ /.test(text) ? text.split(/ +/, 2) : ["GET", text];
  const headers = given.get("headers").split("\n").map((line) => line.trim()).filter(Boolean);
  try {
    state.explained = await send("POST", "/api/v1/explain", { method, url, headers, from: given.get("from").trim() || undefined });
  } catch (error) {
    state.explained = { problem: error.message };
  }
}

// ---- Pointer, keys, themes

document.addEventListener("pointermove", (event) => {
  const plot = event.target.closest?.(".plot svg");
  const before = pointed.chart;
  pointed.chart = plot?.closest("[data-chart]").dataset.chart ?? null;
  if (plot) {
    const place = plot.getBoundingClientRect();
    pointed.x = (event.clientX - place.left) / place.width;
  }
  if (pointed.chart || before) render();
});

document.getElementById("views").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const links = [...event.currentTarget.querySelectorAll("a")];
  links[(links.indexOf(document.activeElement) + step + links.length) % links.length].focus();
});

const THEMES = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" };

function nextTheme() {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  localStorage.setItem("weir-theme", name);
  const button = document.getElementById("theme");
  button.textContent = THEMES[name];
  button.title = "Colours: as the system has them, light or dark";
}

window.addEventListener("hashchange", () => {
  refresh();
  render();
  document.querySelector("#views [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
});

document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));

setInterval(() => {
  if (document.hidden) return;
  measure();
  if (Date.now() - refreshed >= REFRESH && state.link === "live") refresh();
  render();
}, TICK);

setTheme(THEMES[localStorage.getItem("weir-theme")] ? localStorage.getItem("weir-theme") : "auto");
connect();
render();
