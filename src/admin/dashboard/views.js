// The views: each makes its elements from the state.

import { bar, chart, spark } from "./charts.js";
import { h, svg, table } from "./dom.js";
import { findings, isSerious } from "./findings.js";
import { bytes, clock, count, day, millis, moment, NOTHING, percent, plural, rate, since, span, words } from "./format.js";

const SEVERITIES = { error: ["✕", "Error"], warning: ["▲", "Warning"], info: ["●", "Info"] };

function severity(name) {
  const [sign, text] = SEVERITIES[name] ?? SEVERITIES.info;
  return h("span", { class: `severity ${name}` }, h("span", { "aria-hidden": true }, sign), h("span", { class: "hidden" }, text));
}

// A state in words, with a colour and a shape.
function chip(level, text, title) {
  const shapes = { good: "✓", warning: "▲", error: "✕", off: "○" };
  return h("span", { class: `chip ${level}`, title }, shapes[level] && h("span", { "aria-hidden": true }, `${shapes[level]} `), text);
}

function card(title, attributes, ...content) {
  return h("section", { class: "card", ...attributes }, title && h("h2", null, title), content);
}

function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

function button(act, text, data, attributes) {
  const named = Object.fromEntries(Object.entries(data ?? {}).map(([name, value]) => [`data-${name}`, value]));
  return h("button", { type: "button", "data-act": act, ...named, ...attributes }, text);
}

function sum(values) {
  return values.reduce((total, value) => total + (value ?? 0), 0);
}

// ---- Overview

export function overview(state) {
  return [wrong(state), tiles(state), ranges(state), charts(state), columns(limits(state), reload(state)), latest(state)];
}

function columns(...content) {
  return h("div", { class: "columns" }, content);
}

function wrong(state) {
  const found = findings(state);
  const serious = found.filter(isSerious);
  const title = serious.length ? `What is wrong now (${serious.length})` : "What is wrong now";
  const calm = h("p", { class: "calm" }, h("span", { class: "severity good", "aria-hidden": true }, "✓"),
    " Nothing: all targets pass their checks, no limit is reached, and the last configuration is in force.");
  const item = (one) =>
    h("li", { class: one.severity, "data-key": one.key }, severity(one.severity),
      h("div", null, h("a", { class: "title", href: `#${one.view}` }, one.title), one.detail && h("p", null, one.detail)));
  return card(title, { class: `card wrong ${serious.length ? serious[0].severity : "good"}`, id: "wrong", "aria-live": "polite" },
    serious.length === 0 && calm, found.length > 0 && h("ul", { class: "findings" }, found.map(item)));
}

function tiles(state) {
  const { status, rates, history } = state;
  const { process } = status;
  const targets = status.target_groups.flatMap((group) => group.targets);
  const healthy = targets.filter((target) => target.state === "healthy" && target.registration === "active").length;
  const replicated = status.target_groups.filter((group) => group.desired != null);
  const started = sum(replicated.map(running));
  const desired = sum(replicated.map((group) => group.desired));
  const lost = process.access_lines_dropped + process.event_lines_dropped;
  const all = history?.all;
  const recent = (column) => (all ? all[column].slice(-60) : []);
  const times = recentTimes(state);
  const classes = ["5xx", "4xx", "3xx", "2xx"].filter((name) => rates[name] > 0).map((name) => `${name} ${rate(rates[name])}`);
  return h("div", { class: "tiles" },
    tile("Requests / s", rate(rates.all), spark(recent("requests"), 1), classes.join(" · ")),
    tile("5xx / s", rate(rates["5xx"]), spark(recent("errors"), 5), `4xx ${rate(rates["4xx"])} · gone ${rate(rates.client_gone)}`, rates["5xx"] > 0 && "error"),
    tile("Median (p50)", millis(times.p50_ms), spark(recent("p50_ms"), 2)),
    tile("p95", millis(times.p95_ms), spark(recent("p95_ms"), 3), `p99 ${millis(times.p99_ms)}`),
    tile("In flight", count(sum(targets.map((target) => target.in_flight))), spark(recent("in_flight"), 4), `${count(sum(status.target_groups.map((group) => group.waiting)))} waiting`),
    tile("Healthy targets", `${healthy} / ${targets.length}`, null, plural(status.target_groups.length, "group"), healthy < targets.length && "error"),
    replicated.length > 0 && tile("Replicas", `${started} / ${desired}`, null, plural(sum(replicated.flatMap((group) => group.replicas.map((replica) => replica.restarts))), "restart"), started < desired && "warning"),
    tile("Memory", bytes(process.memory_bytes), null, `up ${span(state.uptime)}`),
    tile("Log lines lost", count(lost), null, `${count(process.access_lines_dropped)} of access`, lost > 0 && "warning"));
}

// Of the last minute, the newest values: a percentile of nothing is none.
function recentTimes({ history, now }) {
  const found = { p50_ms: null, p95_ms: null, p99_ms: null };
  if (!history) return found;
  for (const name of Object.keys(found)) {
    const index = history.all[name].findLastIndex((value) => value != null);
    if (index >= 0 && now - history.times[index] < 60000) found[name] = history.all[name][index];
  }
  return found;
}

function tile(name, value, line, more, level) {
  return h("div", { class: `tile ${level || ""}`, "data-key": `tile ${name}` },
    h("div", { class: "name" }, name), h("div", { class: "value" }, value),
    line, h("div", { class: "more" }, more ?? ""));
}

const RANGES = [[5, "5 min"], [15, "15 min"], [60, "1 h"]];

function ranges({ range }) {
  return h("div", { class: "ranges", role: "group", "aria-label": "Time of the charts" },
    RANGES.map(([minutes, name]) => button("range", name, { minutes }, { "aria-pressed": String(range === minutes) })));
}

function timeline(state) {
  const to = state.now;
  const at = state.history?.times ?? [];
  // What is not known yet needs no place.
  const first = Math.min(at[0] ?? to, to - 60000);
  return { at, from: Math.max(first, to - state.range * 60000), to };
}

function charts(state) {
  const all = state.history?.all;
  const values = (name) => all?.[name] ?? [];
  const time = timeline(state);
  return h("div", { class: "charts" },
    chart({ id: "requests", title: "Requests per second", ...time, format: rate, lines: [
      { name: "all", values: values("requests"), color: 1, isFilled: true }, { name: "5xx", values: values("errors"), color: 5, isFilled: true }] }),
    chart({ id: "times", title: "Response times", ...time, format: millis, lines: [
      { name: "p50", values: values("p50_ms"), color: 2 }, { name: "p95", values: values("p95_ms"), color: 3 }, { name: "p99", values: values("p99_ms"), color: 6, isDashed: true }] }),
    chart({ id: "in flight", title: "Requests in flight", ...time, format: count, whole: true, lines: [
      { name: "on targets", values: values("in_flight"), color: 4, isFilled: true }] }));
}

function limits({ status }) {
  const { process } = status;
  const row = (name, value, limit) =>
    h("div", { class: "limit", "data-key": name }, h("span", null, name), h("span", { class: "number" }, `${count(value)} of ${count(limit)}`),
      bar(value ?? 0, limit, `${name}: ${count(value)} of ${count(limit)}`));
  return card("Limits", null,
    status.listeners.map((listener) => row(`Connections of ${listener.name}`, listener.connections, listener.max_connections)),
    row("File descriptors", process.open_files, process.max_open_files),
    status.target_groups.filter((group) => group.queue_length > 0).map((group) => row(`Queue of ${group.name}`, group.waiting, group.queue_length)));
}

function reload({ status, now }) {
  const last = status.last_reload;
  if (!last) return card("Last reload", null, h("p", { class: "empty" }, `None since the start, ${span(status.uptime_seconds)} ago. Snapshot ${status.snapshot} is in force.`));
  return card("Last reload", null,
    h("p", null, last.accepted ? chip("good", "in force") : chip("error", "refused"), ` ${moment(last.at, now)}, ${since(last.at, now)} ago`),
    h("p", { class: "pre" }, last.summary),
    last.problems.length > 0 && h("ul", { class: "problems" }, last.problems.map((problem) => h("li", null, problem))));
}

function latest(state) {
  const shown = state.events.slice(-8).reverse();
  return card("Latest events", null, shown.length ? h("ol", { class: "events" }, shown.map((event) => eventItem(event, state))) : h("p", { class: "empty" }, "None yet."),
    h("p", null, h("a", { href: "#events" }, "All events")));
}

// ---- Groups

export function groups(state) {
  const { status } = state;
  if (status.target_groups.length === 0) return card(null, null, h("p", { class: "empty" }, "The configuration has no target groups."));
  return [groupFilter(state), status.target_groups.map((group) => groupCard(state, group))];
}

function groupFilter({ status, filter }) {
  const many = status.target_groups.reduce((total, group) => total + group.targets.length, 0) > 8;
  return many && h("form", { class: "filters", "data-key": "targets filter", "data-keep": true },
    h("label", null, "Targets ", h("input", { type: "search", name: "target", placeholder: "address, state …", value: filter.target })),
    h("label", null, h("input", { type: "checkbox", name: "trouble", checked: filter.trouble }), " only with problems"));
}

// How a target is, at a glance: a level and a word.
export function targetState(target) {
  if (target.registration === "draining") return ["off", "draining"];
  if (target.ejected) return ["error", "ejected"];
  if (target.state === "unhealthy") return ["error", "unhealthy"];
  if (target.state === "initial") return ["warning", "initial"];
  if (target.ejection_withheld) return ["warning", "failing, not ejected"];
  if (target.weight === 0) return ["off", "weight 0"];
  return ["good", "healthy"];
}

function isShown(target, { filter }) {
  const [level, word] = targetState(target);
  if (filter.trouble && level === "good" && target.minute.errors === 0) return false;
  return !filter.target || `${target.address} ${word} ${target.reason ?? ""}`.includes(filter.target);
}

// More rows than eyes can follow make the page slow.
const MOST_ROWS = 200;

function groupCard(state, group) {
  const healthy = group.targets.filter((target) => target.state === "healthy" && target.registration === "active").length;
  const level = group.targets.length === 0 || healthy === 0 ? (group.desired === 0 ? "off" : "error") : healthy < group.targets.length ? "warning" : "good";
  const wanted = group.targets.filter((target) => isShown(target, state));
  const rows = wanted.slice(0, MOST_ROWS).map((target) => targetRow(state, group, target));
  const failures = Object.entries(group.failures);
  const { retries } = group;
  const history = state.history?.groups[group.name];
  return card(null, { "data-key": group.name, id: `group-${group.name}` },
    h("div", { class: "head" }, h("h2", null, group.name),
      chip(level, `${healthy} of ${plural(group.targets.length, "target")} healthy`),
      group.failing_open && chip("error", "fails open"),
      group.maintenance && chip("warning", `maintenance for ${since(group.maintenance.since, state.now)}`),
      group.fault && chip("error", "replicas: fault", group.fault.message),
      groupActions(state, group),
      history && h("span", { class: "inline" }, spark(history.requests.slice(-60), 1))),
    facts([
      ["Algorithm", words(group.algorithm)],
      ["Checked", group.checked ? "yes" : "no: all count as healthy"],
      ["Least healthy", `${group.min_healthy}${group.fail_open ? ", then fails open" : ", does not fail open"}`],
      ["Queue", group.queue_length > 0 ? `${count(group.waiting)} of ${count(group.queue_length)} waiting` : "none"],
      group.max_concurrency != null && ["Per target", `at most ${plural(group.max_concurrency, "request")}`],
      ["Retries", `${count(sum(Object.values(retries.total)))}${named(retries.total)}; ${retries.in_flight} in flight`],
      ["Retry budget", `${retries.budget_percent} % (${count(retries.recent_retries)} of ${count(retries.recent_requests)} within 10 s), ${retries.free} free`],
      failures.length > 0 && ["Failed requests", failures.map(([reason, total]) => `${words(reason)} ${count(total)}`).join(", ")],
      group.desired != null && ["Replicas", h("a", { href: "#replicas" }, `${count(group.replicas.length)} of ${count(group.desired)}`)],
    ]),
    group.targets.length === 0 ? h("p", { class: "empty" }, "No targets.") : table(`Targets of ${group.name}`, TARGET_COLUMNS, rows),
    sources(state, group),
    wanted.length < group.targets.length && h("p", { class: "empty" }, `${plural(group.targets.length - wanted.length, "target")} left out by the filter.`),
    wanted.length > MOST_ROWS && h("p", { class: "empty" }, `The first ${MOST_ROWS} of ${wanted.length}: filter them.`));
}

function groupActions({ token }, group) {
  if (!token) return null;
  return group.maintenance ? button("ready", "End maintenance", { group: group.name }) : button("maintenance", "Maintenance", { group: group.name });
}

// Names and files that targets come from.
function sources({ now }, group) {
  const rows = group.discovery.map((one) => [`${one.kind} ${one.name}`, [
    h("b", null, one.name), one.kind, one.targets.join(", ") || NOTHING,
    one.last_success ? `${since(one.last_success, now)} ago` : "never", one.next_lookup ? `in ${span((Date.parse(one.next_lookup) - now) / 1000)}` : NOTHING,
    one.last_error ? h("span", { class: "bad" }, `${one.last_error} (${plural(one.failures, "time")})`) : NOTHING], { class: one.last_error ? "error" : null }]);
  return rows.length > 0 && [h("h3", null, "Where targets come from"),
    table(`Sources of ${group.name}`, ["Name", ["Kind", "short"], ["Targets", "medium"], ["Last answer", "short"], ["Next look-up", "medium"], "Last error"], rows)];
}

function listed(counts) {
  const some = Object.entries(counts).filter(([, value]) => value > 0);
  return some.map(([name, value]) => `${words(name)} ${count(value)}`).join(", ");
}

function named(counts) {
  const list = listed(counts);
  return list && ` (${list})`;
}

const TARGET_COLUMNS = ["Target", ["State", "medium"], ["Last checks", "short"], ["Requests/min", "number"], ["Errors", "number"], ["p50", "number"], ["p95", "number"], ["p99", "number"], ["In flight", "number"], ["Weight", "number"], ["", "actions"]];

function targetRow(state, group, target) {
  const { minute } = target;
  const [level, word] = targetState(target);
  const key = `${group.name} ${target.address}`;
  const share = minute.requests ? (minute.errors / minute.requests) * 100 : 0;
  const isOpen = state.opened.has(key);
  const errors = minute.errors > 0 ? h("span", { class: "bad" }, `${count(minute.errors)} (${percent(share)})`) : "0";
  const cells = [
    button("open", [h("span", { class: "turn", "aria-hidden": true }, isOpen ? "▾" : "▸"), ` ${target.address}`], { key }, { class: "link", "aria-expanded": String(isOpen) }),
    [chip(level, word, target.reason), h("span", { class: "reason" }, target.reason && level !== "good" ? words(target.reason) : "")],
    checkDots(target),
    count(minute.requests),
    errors,
    millis(minute.p50_ms),
    millis(minute.p95_ms),
    millis(minute.p99_ms),
    count(target.in_flight),
    [count(target.weight), target.share < 100 && h("span", { class: "reason" }, ` ${target.share} % share`)],
    targetActions(state, group, target),
  ];
  return [key, cells, { class: level }, isOpen && targetMore(state, group, target)];
}

function checkDots(target) {
  if (!target.check) return h("span", { class: "reason" }, "not checked");
  const last = [...target.last_checks].reverse();
  const failed = last.filter((check) => !check.ok).length;
  return svg("svg", { class: "dots", viewBox: "0 0 100 10", role: "img", "aria-label": `${failed} of the last ${last.length} checks failed` },
    last.map((check, index) => {
      const x = 100 - (last.length - index) * 10 + 5;
      const what = svg("title", null, `${clock(check.at)} ${check.ok ? "passed" : "failed"}${check.status ? `, ${check.status}` : ""}, ${millis(check.ms)}`);
      return check.ok
        ? svg("rect", { class: "good", x: x - 3, y: 1, width: 6, height: 8, rx: 1.5 }, what)
        : svg("path", { class: "error", d: `M${x - 3} 2L${x + 3} 8M${x + 3} 2L${x - 3} 8` }, what);
    }));
}

function targetActions(state, group, target) {
  if (!state.token) return "";
  const data = { group: group.name, address: target.address };
  const isDraining = target.registration === "draining";
  return h("span", { class: "buttons" },
    isDraining ? button("register", "Take back", data) : button("drain", "Drain", data),
    button("weight", "Weight", { ...data, weight: target.weight }));
}

function targetMore({ now }, group, target) {
  const { check } = target;
  const rows = target.last_checks.map((one, index) => [String(index), [
    clock(one.at), one.ok ? chip("good", "passed") : chip("error", "failed"), one.status ?? NOTHING, millis(one.ms),
    [one.reason ? `${words(one.reason)}${one.detail ? ": " : ""}` : "", one.detail ?? ""]]]);
  return h("div", { class: "details" },
    facts([
      check && ["Check", h("code", null, `${check.method} ${check.url}`)],
      check && ["Wanted", check.wanted],
      check && ["Every", `${span(check.interval_seconds)}, at most ${span(check.timeout_seconds)}`],
      ["Checks", `${count(target.checks)}, of which ${count(target.failed_checks)} failed`],
      ["State", `${target.state}${target.reason ? ` (${target.reason})` : ""}${target.since ? ` for ${since(target.since, now)}` : ""}`],
      ["Registration", target.registration],
      target.draining && ["Drains", `${words(target.draining.reason)}, since ${since(target.draining.since, now)}${target.draining.seconds_left != null ? `, ${span(target.draining.seconds_left)} left` : ""}`],
      ["Requests", `${count(target.requests)} since the start${named(target.responses)}`],
      ["Share", `${target.share} %${target.share < 100 ? " of what it is picked for" : ""}`],
      target.ejected && ["Ejected", `${words(target.ejected.reason)}: ${target.ejected.detail}; until ${moment(target.ejected.until, now)}, time ${target.ejected.times}`],
      target.ejection_withheld && ["Ejection withheld", target.ejection_withheld],
      listed(target.ejections) && ["Ejections", listed(target.ejections)],
      listed(target.ejections_withheld) && ["Ejections withheld", listed(target.ejections_withheld)],
      ["Anomaly detection", `${target.anomaly_detection.result}${target.anomaly_detection.mitigation_in_effect ? ", gets fewer requests" : ""}`],
      target.source && ["Comes from", target.source],
      ["Connections", `${count(target.open_connections)}, ${count(target.idle_connections)} idle`],
    ]),
    rows.length > 0 && table(`Last checks of ${target.address}`, ["Time", ["Result", "short"], ["Status", "number"], ["Took", "number"], "Why"], rows));
}

// ---- Replicas

export function replicas(state) {
  const some = state.status.target_groups.filter((group) => group.desired != null);
  if (some.length === 0) return card(null, null, h("p", { class: "empty" }, "No group has replicas: Weir runs none, and no engine does for it."));
  return some.map((group) => replicaCard(state, group));
}

const REPLICA_LEVELS = { running: "good", starting: "warning", draining: "off", stopping: "off" };

function running(group) {
  return group.replicas.filter((replica) => replica.state === "running").length;
}

function replicaCard(state, group) {
  const rows = group.replicas.map((replica) => replicaRow(state, group, replica));
  const stopped = [...group.stopped_replicas].sort((one, other) => Date.parse(other.stopped) - Date.parse(one.stopped));
  return card(null, { "data-key": group.name },
    h("div", { class: "head" }, h("h2", null, group.name),
      chip(running(group) < group.desired ? "warning" : "good", `${running(group)} of ${group.desired} running`),
      group.fault && chip("error", "fault"),
      state.token && button("desired", "Desired count", { group: group.name, desired: group.desired })),
    group.fault && h("p", { class: "bad" }, `For ${since(group.fault.since, state.now)}: ${group.fault.message}`),
    rows.length ? table(`Replicas of ${group.name}`, REPLICA_COLUMNS, rows) : h("p", { class: "empty" }, "None runs."),
    stopped.length > 0 && [h("h3", null, `The last ${stopped.length} that stopped${named(group.replica_stops)}`), table(`Stopped replicas of ${group.name}`, STOPPED_COLUMNS, stopped.map((one, index) => stoppedRow(state, one, index)))]);
}

const REPLICA_COLUMNS = ["Replica", ["State", "short"], ["Address", "medium"], ["Process", "number"], ["CPU", "number"], ["Memory", "number"], ["Restarts", "number"], ["Runs for", "medium"], "Last exit", ["", "actions"]];

function replicaRow(state, group, replica) {
  const name = replica.name ?? `replica ${replica.id}`;
  return [String(replica.id), [
    h("b", null, name),
    [chip(REPLICA_LEVELS[replica.state] ?? "warning", replica.state), replica.desired_state === "stopped" && h("span", { class: "reason" }, " to be stopped")],
    replica.address ?? NOTHING,
    replica.pid ?? NOTHING,
    percent(replica.cpu, 1),
    percent(replica.memory, 1),
    replica.restarts > 0 ? h("span", { class: "bad" }, count(replica.restarts)) : "0",
    since(replica.started ?? replica.since, state.now),
    exitText(replica.last_exit, state.now),
    state.token ? button("restart", "Restart", { group: group.name, replica: replica.id }) : "",
  ]];
}

function exitText(exit, now) {
  return exit ? [exit.status, h("span", { class: "reason" }, ` ${moment(exit.at, now)}`)] : NOTHING;
}

const STOPPED_COLUMNS = ["Replica", ["Why", "short"], ["Exit", "medium"], ["Address", "medium"], ["Process", "number"], ["Ran for", "short"], ["Stopped", "short"]];

function stoppedRow({ now }, one, index) {
  const ran = one.started && span((Date.parse(one.stopped) - Date.parse(one.started)) / 1000);
  const why = one.reason === "exited" ? chip("error", "exited") : words(one.reason);
  return [`${one.id} ${one.stopped} ${index}`, [one.name ?? `replica ${one.id}`, why, one.exit ?? NOTHING, one.address ?? NOTHING, one.pid ?? NOTHING, ran ?? NOTHING, moment(one.stopped, now)]];
}

// ---- Scaling

export function scaling(state) {
  const known = new Map((state.autoscaling?.target_groups ?? []).map((group) => [group.name, group]));
  const some = state.status.target_groups.filter((group) => group.desired != null || known.has(group.name));
  if (some.length === 0) return card(null, null, h("p", { class: "empty" }, "No group has replicas, so none scales."));
  return [ranges(state), some.map((group) => scalingCard(state, group, known.get(group.name)))];
}

const ALARMS = { ok: "good", high: "warning", low: "off", insufficient_data: "off" };

function scalingCard(state, group, scaling) {
  const history = state.history?.groups[group.name];
  const time = timeline(state);
  const counts = chart({ id: `${group.name} count`, title: "Replicas", ...time, format: count, whole: true, least: scaling?.max ?? 0, lines: [
    { name: "desired", values: history?.desired ?? [], color: 1, isStep: true, isFilled: true },
    { name: "running", values: history?.running ?? [], color: 2, isStep: true },
    { name: "healthy", values: history?.healthy ?? [], color: 6, isStep: true, isDashed: true }] });
  const metrics = Object.entries(history?.metrics ?? {}).map(([name, metric]) =>
    chart({ id: `${group.name} ${name}`, title: words(name), ...time, format: (value) => `${rate(value)}`, lines: [
      { name: "value", values: metric.values, color: 3 },
      metric.targets.some((target) => target != null) && { name: "target", values: metric.targets, color: 5, isDashed: true, isStep: true }].filter(Boolean) }));
  return card(null, { "data-key": group.name },
    h("div", { class: "head" }, h("h2", null, group.name),
      chip(running(group) < group.desired ? "warning" : "good", `${running(group)} of ${plural(group.desired, "replica")} running`),
      scaling ? chip(ALARMS[scaling.alarm] ?? "off", `alarm ${words(scaling.alarm)}`) : chip("off", "a fixed count")),
    h("div", { class: "charts" }, counts, metrics),
    scaling && [scalingFacts(state, scaling), policies(scaling, state.now), decisions(state, scaling)]);
}

function scalingFacts({ now }, scaling) {
  return facts([
    ["Bounds", `${scaling.min} to ${scaling.max}`],
    ["Desired", count(scaling.desired)],
    ["In service", `${scaling.running}, and ${scaling.warming} warming`],
    ["Profile", words(scaling.profile)],
    ["Decides", scaling.is_scaler ? "this Weir" : "another process"],
    ["Last outcome", scaling.outcome ? `${words(scaling.outcome)}${scaling.reason ? `: ${words(scaling.reason)}` : ""}` : "none yet"],
    scaling.out_cooldown && ["Cooldown out", `until ${moment(scaling.out_cooldown, now)}`],
    scaling.in_cooldown && ["Cooldown in", `until ${moment(scaling.in_cooldown, now)}`],
    scaling.last_change && ["Last change", `${scaling.last_change.from} → ${scaling.last_change.to} at ${moment(scaling.last_change.at, now)}: ${scaling.last_change.formula}`],
    scaling.unrecorded > 0 && ["Not recorded", plural(scaling.unrecorded, "decision")],
  ]);
}

function policies(scaling, now) {
  const values = new Map(scaling.metrics.map((metric) => [metric.metric, metric]));
  const alarms = new Map(scaling.alarms.map((alarm) => [alarm.policy, alarm]));
  const rows = scaling.policies.map((policy) => [policy.policy, [
    h("b", null, policy.policy), [chip(ALARMS[policy.alarm] ?? "off", words(policy.alarm)), alarms.get(policy.policy)?.since && h("span", { class: "reason" }, ` for ${since(alarms.get(policy.policy).since, now)}`)],
    policy.metric == null ? ([...values].find(([name]) => policy.policy.includes(name))?.[1].missing ?? NOTHING) : rate(policy.metric),
    rate(alarms.get(policy.policy)?.target ?? policy.inputs?.target),
    policy.wants ?? NOTHING, h("code", null, policy.formula || NOTHING), policy.reason ? words(policy.reason) : NOTHING]]);
  return rows.length > 0 && [h("h3", null, "Policies"), table("Policies", ["Policy", ["Alarm", "medium"], ["Metric", "number"], ["Target", "number"], ["Wants", "number"], "Formula", "Why not"], rows)];
}

function outcome(decision) {
  const { outcome } = decision;
  return typeof outcome === "string" ? words(outcome) : `hold: ${words(outcome.hold)}`;
}

function decisions({ now }, scaling) {
  const rows = scaling.last.map((entry, index) => {
    const { decision } = entry;
    const formulas = decision.opinions.filter((opinion) => opinion.formula).map((opinion) => `${opinion.policy}: ${opinion.formula}`);
    const isChange = decision.before !== decision.desired;
    return [`${entry.since} ${index}`, [
      moment(entry.since, now), isChange ? h("b", null, `${decision.before} → ${decision.desired}`) : String(decision.desired), outcome(decision),
      entry.count > 1 ? `${count(entry.count)} times` : "once", h("code", null, formulas.join("; ") || NOTHING)], { class: isChange ? "change" : null }];
  });
  return [h("h3", null, "Decisions"), rows.length ? table("Decisions", ["Since", ["Count", "short"], ["Outcome", "medium"], ["Seen", "short"], "Formula"], rows) : h("p", { class: "empty" }, "None yet.")];
}

// ---- Rules

export function rules(state) {
  return [explainForm(state), state.status.listeners.map((listener) => ruleCard(state, listener))];
}

function ruleCard({ now }, listener) {
  const hits = sum(listener.rule_hits.map((rule) => rule.hits));
  const rows = listener.rule_hits.map((rule) => [String(rule.priority ?? "default"), [
    h("b", null, rule.priority ?? "default"),
    rule.conditions.length ? h("ul", { class: "plain" }, rule.conditions.map((condition) => h("li", null, condition))) : h("span", { class: "reason" }, rule.priority == null ? "whatever no rule has matched" : "every request"),
    rule.action,
    rule.hits === 0 && rule.priority != null && hits > 0 ? chip("warning", "never") : count(rule.hits),
    hits > 0 ? percent((rule.hits / hits) * 100, 1) : NOTHING,
    rule.last_hit ? `${since(rule.last_hit, now)} ago` : NOTHING]]);
  return card(null, { "data-key": listener.name },
    h("div", { class: "head" }, h("h2", null, listener.name), h("span", { class: "reason" }, `${listener.bind}, ${plural(listener.rules, "rule")}, ${plural(hits, "request")}`)),
    table(`Rules of ${listener.name}`, ["Priority", "Conditions", "Action", ["Hits", "number"], ["Share", "number"], ["Last hit", "short"]], rows));
}

function explainForm(state) {
  const field = (name, label, attributes) => h("label", null, h("span", null, label), h("input", { name, ...attributes }));
  return card("Explain a request", { "data-key": "explain" },
    h("form", { id: "explain", class: "explain", "data-key": "explain form", "data-keep": true },
      field("request", "Request", { value: "GET /", required: true, spellcheck: "false" }),
      field("from", "From", { value: "127.0.0.1", spellcheck: "false" }),
      h("label", null, h("span", null, "Header fields"), h("textarea", { name: "headers", rows: 2, placeholder: "name: value, one a line", spellcheck: "false" })),
      h("button", { type: "submit", class: "primary" }, "Explain")),
    h("div", { "aria-live": "polite", "data-key": "explained" }, state.explained && explanation(state.explained)));
}

// In the order in which a request passes: the listener, the rules, the action, its groups.
function explanation(told) {
  if (told.problem) return h("p", { class: "bad" }, told.problem);
  const { action } = told;
  const rule = told.rule == null ? "the default action" : `rule ${told.rule}`;
  return h("div", { class: "explained" },
    h("p", null, h("b", null, `Listener ${told.listener}`), ` ${told.bind}: ${told.listener_because}. The client is ${told.client}${told.trusted_proxy ? ", as a trusted proxy says" : ""}.`),
    told.passed_over.length > 0 && [h("h3", null, "Rules that do not match"), table("Rules that do not match", ["Rule", ["Condition", "short"], ["Wanted", "medium"], ["The request has", "medium"]],
      told.passed_over.map((one) => [String(one.rule), [h("b", null, one.rule), one.condition, h("code", null, one.wanted.join(" or ")), h("code", null, one.seen.join(", ") || "nothing")]]))],
    h("h3", null, "What happens"),
    h("p", null, "It is taken by ", h("b", null, rule), ` and ${acts(action)}.`),
    (action.groups ?? []).map(groupAnswer),
    action.kind === "forward" && facts([
      action.request_filters.length > 0 && ["Filters of the request", action.request_filters.join("; ")],
      action.response_filters.length > 0 && ["Filters of the response", action.response_filters.join("; ")],
      ["Sent as", h("code", null, `${action.sent.method} ${action.sent.target}`)],
      ["With", action.sent.headers.map(([name, value]) => h("div", null, h("code", null, `${name}: ${value}`)))]]));
}

function acts(action) {
  if (action.kind === "refuse") return `refused with ${action.status}: ${action.explanation} (${action.reason})`;
  if (action.kind === "respond") return `answered with ${action.status}${action.body ? `: ${action.body}` : ""}`;
  return "forwarded";
}

function groupAnswer(group) {
  const rows = group.targets.map((target) => [target.address, [h("b", null, target.address), target.eligible ? chip("good", "eligible") : chip("error", "not eligible"), target.state, count(target.weight), target.because ?? NOTHING]]);
  return h("div", null,
    h("p", null, "Group ", h("b", null, group.name), ` with ${percent(group.chance)}, by ${words(group.algorithm)}`,
      group.failing_open && ", which fails open", group.maintenance && ", which is in maintenance",
      group.session && `; the session is on ${group.session}`, group.hash_key && `; ${group.hash_key} leads to ${group.hash_target ?? "no target"}`, "."),
    rows.length > 0 && table(`Targets of ${group.name} for this request`, ["Target", ["Eligible", "medium"], ["State", "short"], ["Weight", "number"], "Why"], rows));
}

// ---- Events

export const KINDS = ["health", "ejection", "fail_open", "reload", "drain", "target", "scaling", "replica", "discovery", "certificate", "limit", "handover", "process", "admin"];

const MOST_EVENTS = 300;

export function events(state) {
  const { filter } = state;
  const isWanted = (event) =>
    (!filter.kind || event.kind === filter.kind) && (!filter.group || event.group === filter.group) && (!filter.severe || event.severity !== "info");
  const found = state.events.filter(isWanted).reverse();
  const days = [];
  for (const event of found.slice(0, MOST_EVENTS)) {
    if (days.at(-1)?.day !== day(event.at)) days.push({ day: day(event.at), events: [] });
    days.at(-1).events.push(event);
  }
  return [eventFilters(state),
    card(null, null,
      h("p", { class: "reason" }, `${plural(found.length, "event")} of ${count(state.events.length)} that this page has${found.length > MOST_EVENTS ? `; the newest ${MOST_EVENTS} are shown` : ""}.`),
      days.map((one) => [h("h3", { "data-key": one.day }, one.day === day(state.now) ? "Today" : one.day),
        h("ol", { class: "events", "data-key": `events of ${one.day}` }, one.events.map((event) => eventItem(event, state)))]),
      found.length === 0 && h("p", { class: "empty" }, "None of these."))];
}

function eventFilters({ status, filter }) {
  const names = status.target_groups.map((group) => group.name);
  const choice = (name, label, values) =>
    h("label", null, `${label} `, h("select", { name }, h("option", { value: "" }, "all"), values.map((value) => h("option", { value, selected: filter[name] === value }, words(value)))));
  return h("form", { class: "filters", "data-key": `event filters ${names.join(" ")}`, "data-keep": true },
    choice("kind", "Kind", KINDS),
    h("label", null, "Group ", h("select", { name: "group" }, h("option", { value: "" }, "all"), names.map((name) => h("option", { value: name, selected: filter.group === name }, name)))),
    h("label", null, h("input", { type: "checkbox", name: "severe", checked: filter.severe }), " warnings and errors only"));
}

function eventItem(event, { now }) {
  const places = [event.listener && ["listener", event.listener], event.group && ["group", event.group], event.target && ["target", event.target], event.replica && ["replica", event.replica]].filter(Boolean);
  const details = Object.entries(event.details ?? {}).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" · ");
  return h("li", { "data-key": event.sequence, class: event.severity },
    severity(event.severity), h("time", { datetime: event.at, title: event.at }, moment(event.at, now)), h("span", { class: "kind" }, words(event.kind)),
    h("div", null, h("span", { class: "text" }, event.text), places.map(([name, value]) => h("span", { class: "place" }, ` ${name} `, h("b", null, value))),
      details && h("div", { class: "reason" }, details)));
}

// ---- Configuration

export function config(state) {
  const { status, now } = state;
  return [
    columns(
      card("Process", null,
        state.token && h("p", { class: "buttons" }, button("reload", "Reload the configuration")),
        facts([
        ["Version", status.version], ["Process", status.pid], ["Phase", words(status.phase)],
        status.waits.length > 0 && ["Waits for", status.waits.join("; ")],
        ["Snapshot", count(status.snapshot)], ["Started", moment(status.started, now)], ["Up", span(state.uptime)],
        ["Dashboards and others that follow events", count(status.process.followers)],
        ["Too slow to follow", count(status.process.followers_lost)]])),
      h("div", null, reload(state), logCard(state))),
    card("Listeners", null, table("Listeners", ["Name", "Address", ["Connections", "number"], ["Rules", "number"], "Default action"],
      status.listeners.map((listener) => [listener.name, [h("b", null, listener.name), listener.bind,
        [`${count(listener.connections)} of ${count(listener.max_connections)}`, bar(listener.connections, listener.max_connections, `connections of ${listener.name}`)],
        count(listener.rules), listener.default_action]]))),
    certificates(status, now)];
}

function logCard({ token, log }) {
  const change = token && h("form", { id: "log", class: "inline", "data-key": "log form", "data-keep": true },
    h("label", null, "Change to ", h("input", { name: "level", value: log ?? "info", list: "levels", spellcheck: "false" })),
    h("datalist", { id: "levels" }, ["error", "warn", "info", "debug", "info,weir::health=debug"].map((level) => h("option", { value: level }))),
    h("button", { type: "submit" }, "Set"));
  return card("Log level", null, h("p", null, h("code", null, log ?? NOTHING), h("span", { class: "reason" }, token ? " a change lasts until the process ends" : " a token is needed to change it")), change);
}

function certificates(status, now) {
  const all = status.listeners.flatMap((listener) => listener.certificates.map((certificate) => [listener, certificate]));
  const orders = status.listeners.flatMap((listener) => listener.acme.map((order) => [listener, order]));
  const left = (certificate) => (Date.parse(certificate.expires) - now) / 1000;
  const chipOf = (seconds) => (seconds <= 0 ? chip("error", "expired") : seconds < 21 * 86400 ? chip("warning", `${span(seconds)} left`) : chip("good", `${span(seconds)} left`));
  return card("Certificates", null,
    all.length ? table("Certificates", ["Names", "Listener", "File", "Valid until", ""], all.map(([listener, one]) => [`${listener.name} ${one.file}`, [
      one.names.join(", ") || NOTHING, listener.name, h("code", null, one.file), moment(one.expires, now), chipOf(left(one))]])) : h("p", { class: "empty" }, "No listener has certificates."),
    orders.length > 0 && [h("h3", null, "Ordered (ACME)"), table("Orders", ["Host", "Listener", "State", ["Failures", "number"], "Last error", "Next try"], orders.map(([listener, one]) => [`${listener.name} ${one.domain}`, [
      one.domain, listener.name, chip(one.last_error ? "warning" : "good", one.state), count(one.failures), one.last_error ?? NOTHING, moment(one.next_try, now)]]))]);
}
