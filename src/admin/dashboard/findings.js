// What is wrong now: the first thing that an operator looks for.
//
// Each finding has a severity, a title that names the thing, a detail with the numbers and what helps, and the view that
// shows more. All of it is read from the status, from events, and from what counted up while this page was open.

import { count, millis, moment, percent, plural, since, span, words } from "./format.js";

const ERROR = "error";
const WARNING = "warning";
const NOTE = "note";
const ORDER = [ERROR, WARNING, NOTE];

const MINUTE = 60 * 1000;
const RECENT = 10 * MINUTE;
// A certificate that ends within this time should have been replaced.
const EXPIRES_SOON = 21 * 24 * 60 * MINUTE;

// Findings of one kind in one group, or on one listener, that are shown each.
const MOST_ALIKE = 5;

// Reasons of failed requests that say nothing about Weir or its targets.
const OF_CLIENTS = /^(client|request|malformed|bad_host|uri|plain_http|method|version|not_implemented|rate_limited)/;

const HELP = {
  queue_full: "Requests come faster than the targets answer: add targets, or raise max_concurrency or queue_length.",
  queue_timeout: "Requests waited for a free target until their time was over.",
  overloaded: "Every target has as many requests as max_concurrency allows, and there is no queue.",
  no_target: "No target was eligible: see their states.",
  connect_error: "A target could not be reached: is it running, and is its address right?",
  target_closed: "A target closed the connection before it answered.",
  response_timeout: "A target did not answer in time.",
  out_of_resources: "This host gives Weir no descriptor, port or memory.",
};

export function findings(state) {
  const { status } = state;
  if (!status) return [];
  const found = [];
  const add = (severity, view, title, detail, key = title) => found.push({ severity, view, title, detail, key });
  ofProcess(state, add);
  for (const listener of status.listeners) ofListener(state, listener, add);
  for (const group of status.target_groups) {
    ofGroup(state, group, add);
    for (const target of group.targets) ofTarget(state, group, target, add);
    ofReplicas(state, group, add);
    ofScaling(group, add);
  }
  ofEvents(state, add);
  return bundled(found).sort((one, other) => ORDER.indexOf(one.severity) - ORDER.indexOf(other.severity));
}

// Of many alike the first ones, and how many there are: a key begins with what it is and where.
function bundled(found) {
  const alike = (one) => `${one.severity} ${one.key.split(" ", 2).join(" ")}`;
  const counts = new Map();
  for (const one of found) counts.set(alike(one), (counts.get(alike(one)) ?? 0) + 1);
  const shown = new Map();
  return found.flatMap((one) => {
    const index = (shown.get(alike(one)) ?? 0) + 1;
    shown.set(alike(one), index);
    const more = counts.get(alike(one)) - MOST_ALIKE;
    if (more <= 1 || index <= MOST_ALIKE) return [one];
    return index === MOST_ALIKE + 1 ? [{ ...one, title: `${more} more like this`, detail: "The view that this leads to has all of them.", key: `more ${alike(one)}` }] : [];
  });
}

function ofProcess({ status, now, grown }, add) {
  const { process } = status;
  if (status.phase === "starting") add(WARNING, "config", "Weir is starting", status.waits.join("; ") || "Listeners are not open yet.");
  else if (status.phase !== "serving") add(WARNING, "config", `Weir is in the phase ${words(status.phase)}`, "It stops or hands over.");
  const reload = status.last_reload;
  if (reload && !reload.accepted) {
    const detail = [`${moment(reload.at, now)}: ${reload.summary}`, ...reload.problems].join("\n");
    add(ERROR, "config", "The last reload was refused; the configuration before it is in force", detail);
  } else if (status.reload_refused) {
    add(ERROR, "config", "A changed file is not in force, because it cannot be", "The log and the events say why.");
  } else if (reload?.problems.length) {
    add(WARNING, "config", "The last reload has problems", reload.problems.join("\n"));
  }
  const files = process.open_files == null ? 0 : process.open_files / process.max_open_files;
  if (files >= 0.8) {
    add(files >= 0.95 ? ERROR : WARNING, "overview", `${percent(files * 100)} of the file descriptors are in use`,
      `${count(process.open_files)} of ${count(process.max_open_files)}. Raise the limit (LimitNOFILE of systemd, ulimit -n).`);
  }
  const lost = process.access_lines_dropped + process.event_lines_dropped;
  if (lost > 0) {
    const recent = grown((old) => old.process.access_lines_dropped + old.process.event_lines_dropped);
    add(recent > 0 ? ERROR : WARNING, "overview",
      recent > 0 ? `Log lines are lost: ${count(recent)} within the last minute` : `${plural(lost, "log line")} lost since the start`,
      `The output of the log does not take them: a full disk, or a reader that is too slow or gone. Access log: ${count(process.access_lines_dropped)}, others: ${count(process.event_lines_dropped)} since the start.`,
      "log");
  }
}

function ofListener({ status, now }, listener, add) {
  const { name } = listener;
  const share = listener.connections / listener.max_connections;
  if (share >= 0.8) {
    add(share >= 1 ? ERROR : WARNING, "config",
      share >= 1 ? `Listener ${name} has reached its connection limit` : `Listener ${name} is near its connection limit`,
      `${count(listener.connections)} of ${count(listener.max_connections)} connections are open. Further clients wait until one ends; raise max_connections if that is too few.`, `connections ${name}`);
  }
  for (const certificate of listener.certificates) {
    const left = Date.parse(certificate.expires) - now;
    if (left > EXPIRES_SOON) continue;
    const names = certificate.names.join(", ") || certificate.file;
    const isOver = left <= 0;
    add(isOver || left < 3 * 24 * 60 * MINUTE ? ERROR : WARNING, "config",
      isOver ? `The certificate for ${names} has expired` : `The certificate for ${names} expires in ${span(left / 1000)}`,
      `Listener ${name}, ${certificate.file}: ${isOver ? `until ${moment(certificate.expires, now)}; clients refuse it` : `valid until ${moment(certificate.expires, now)}`}.`,
      `certificate ${name} ${certificate.file}`);
  }
  for (const order of listener.acme) {
    if (order.last_error == null) continue;
    add(WARNING, "config", `No certificate was ordered for ${order.domain}`,
      `${plural(order.failures, "attempt")} failed: ${order.last_error}. The next try is at ${moment(order.next_try, now)}.`, `acme ${name} ${order.domain}`);
  }
  const hits = listener.rule_hits.reduce((sum, rule) => sum + rule.hits, 0);
  if (status.uptime_seconds < 30 || hits === 0) return;
  for (const rule of listener.rule_hits) {
    if (rule.hits > 0 || rule.priority == null) continue;
    add(NOTE, "rules", `Rule ${rule.priority} of listener ${name} has matched no request since the start`,
      `${rule.conditions.join(" and ") || "no condition"} → ${rule.action}. Others took ${plural(hits, "request")}; the explain form says why a request does not match.`, `rule ${name} ${rule.priority}`);
  }
}

function ofGroup(state, group, add) {
  const { name } = group;
  const healthy = group.targets.filter((target) => target.state === "healthy" && target.registration === "active");
  const isIdle = group.desired === 0;
  if (group.maintenance) {
    add(WARNING, "groups", `Group ${name} is in maintenance`, `For ${since(group.maintenance.since, state.now)}: its requests are answered with 503 until that is ended.`, `maintenance ${name}`);
  }
  if (group.targets.length === 0 && !isIdle) {
    add(ERROR, "groups", `Group ${name} has no target`, "Its requests are answered with 503.", `targets ${name}`);
  } else if (healthy.length === 0 && !isIdle) {
    add(ERROR, "groups", `Group ${name} has no healthy target`, group.failing_open
      ? "It fails open: requests go to targets that fail their checks." : "Its requests are answered with 503.", `targets ${name}`);
  } else if (group.failing_open) {
    add(ERROR, "groups", `Group ${name} fails open`,
      `${healthy.length} of ${group.targets.length} targets are healthy, fewer than ${group.min_healthy}: requests go to those that fail their checks too.`, `targets ${name}`);
  }
  if (group.queue_length > 0 && group.waiting >= group.queue_length) {
    add(ERROR, "groups", `The queue of group ${name} is full`, `${count(group.waiting)} of ${count(group.queue_length)} requests wait; further ones are answered with 503. ${HELP.queue_full}`, `queue ${name}`);
  }
  ofFailures(state, group, add);
  for (const source of group.discovery) {
    if (!source.last_error) continue;
    const kept = source.targets.length ? `Its last targets stay: ${source.targets.join(", ")}.` : "It leads to no target.";
    add(ERROR, "groups", `The ${source.kind === "file" ? "file" : "name"} ${source.name} of group ${name} cannot be used`,
      `${source.last_error}, ${plural(source.failures, "time")} in a row; ${source.last_success ? `the last answer came ${since(source.last_success, state.now)} ago` : "there was no answer yet"}. ${kept}`, `discovery ${name} ${source.name}`);
  }
  const { retries } = group;
  const allowed = (retries.recent_requests * retries.budget_percent) / 100;
  if (retries.recent_retries > 0 && retries.recent_retries >= allowed && retries.in_flight >= retries.free) {
    add(WARNING, "groups", `The retry budget of group ${name} is used up`,
      `${count(retries.recent_retries)} retries for ${count(retries.recent_requests)} requests within ten seconds; failures are not retried any more.`, `budget ${name}`);
  }
}

function ofFailures({ grown }, group, add) {
  for (const [reason, total] of Object.entries(group.failures)) {
    if (OF_CLIENTS.test(reason)) continue;
    const recent = grown((old) => old.target_groups.find((other) => other.name === group.name)?.failures[reason] ?? 0);
    if (reason === "queue_full" && group.waiting >= group.queue_length) continue;
    const isQueue = reason === "queue_full" || reason === "overloaded";
    if (recent === 0 && !isQueue) continue;
    const title = isQueue ? `The queue of group ${group.name} was full` : `Requests to group ${group.name} fail: ${words(reason)}`;
    const within = recent > 0 ? `${plural(recent, "request")} failed within the last minute` : `${plural(total, "request")} failed since the start`;
    add(recent > 0 ? ERROR : NOTE, "groups", title, `${within} (${reason}). ${HELP[reason] ?? ""}`, `failures ${group.name} ${reason}`);
  }
}

function failedCheck(target) {
  const failed = target.last_checks.find((check) => !check.ok);
  const made = target.check ? `The check ${target.check.method} ${target.check.url}` : "The check";
  if (!failed) return "";
  const answer = failed.status == null ? "was not answered" : `was answered with ${failed.status}, wanted is ${target.check?.wanted}`;
  return `${made} ${answer}${failed.detail && failed.detail !== `status ${failed.status}` ? `: ${failed.detail}` : ""}.`;
}

function ofTarget({ now }, group, target, add) {
  const name = `${target.address} of group ${group.name}`;
  const key = `${group.name} ${target.address}`;
  if (target.state === "unhealthy") {
    add(ERROR, "groups", `Target ${name} is unhealthy: ${words(target.reason ?? "")}`,
      `Since ${since(target.since, now)}. ${failedCheck(target)}`, `health ${key}`);
  } else if (target.state === "initial" && target.failed_checks > 0) {
    add(WARNING, "groups", `Target ${name} has not passed its checks yet`, failedCheck(target), `health ${key}`);
  }
  if (target.ejected) {
    add(ERROR, "groups", `Target ${name} is ejected: ${words(target.ejected.reason)}`,
      `${target.ejected.detail}. It gets no requests until ${moment(target.ejected.until, now)}. ${errors(target)}`, `ejected ${key}`);
  } else if (target.ejection_withheld) {
    add(ERROR, "groups", `Target ${name} fails requests, and its ejection is withheld`, `${target.ejection_withheld}. ${errors(target)}`, `withheld ${key}`);
  } else if (target.minute.errors >= 3 && target.minute.errors >= target.minute.requests * 0.05) {
    add(ERROR, "groups", `Target ${name} answers requests with 5xx`, `${errors(target)}${target.state === "healthy" ? " Its checks pass." : ""}`, `errors ${key}`);
  }
  if (target.anomaly_detection.result === "anomalous") {
    add(WARNING, "groups", `Target ${name} does worse than its peers`,
      target.anomaly_detection.mitigation_in_effect ? `It gets ${target.share} % of its share of requests.` : "It gets its whole share of requests.", `anomaly ${key}`);
  }
  ofSpeed(group, target, name, add);
  if (target.registration === "draining" && target.draining) {
    add(NOTE, "groups", `Target ${name} drains`, `${words(target.draining.reason)}, since ${since(target.draining.since, now)}; ${plural(target.in_flight, "request")} left.`, `drain ${key}`);
  } else if (target.weight === 0) {
    add(NOTE, "groups", `Target ${name} has weight 0`, "It gets no new requests.", `weight ${key}`);
  }
}

function errors({ minute }) {
  if (minute.errors === 0) return "";
  return `${percent((minute.errors / minute.requests) * 100)} of its requests were answered with 5xx: ${count(minute.errors)} of ${count(minute.requests)} within the last ${span(minute.seconds)}.`;
}

// A target that is much slower than the median of the others, by what it answered within a minute.
function ofSpeed(group, target, name, add) {
  const enough = (other) => other.minute.requests >= 10 && other.minute.p50_ms != null;
  const others = group.targets.filter((other) => other !== target && enough(other)).map((other) => other.minute.p50_ms);
  if (!enough(target) || others.length === 0) return;
  others.sort((one, other) => one - other);
  const usual = others[Math.floor((others.length - 1) / 2)];
  const own = target.minute.p50_ms;
  if (own < 3 * usual || own - usual < 20) return;
  add(WARNING, "groups", `Target ${name} is slow`,
    `Half of its requests take more than ${millis(own)} (p95 ${millis(target.minute.p95_ms)}), those on other targets ${millis(usual)}.`, `slow ${group.name} ${target.address}`);
}

function ofReplicas({ events, now, grown }, group, add) {
  if (group.fault) add(ERROR, "replicas", `The replicas of group ${group.name} cannot be managed`, `For ${since(group.fault.since, now)}: ${group.fault.message}`, `fault ${group.name}`);
  if (group.desired == null) return;
  const recent = events.filter((event) => event.kind === "replica" && event.group === group.name && now - Date.parse(event.at) < RECENT);
  const exits = recent.filter((event) => event.severity !== "info" && /exited|cannot start/.test(event.text));
  const restarts = grown((old) => sum(old.target_groups.find((other) => other.name === group.name)?.replicas));
  if (exits.length >= 3 || restarts >= 3) {
    const last = exits.at(-1);
    const why = last ? ` The last one: ${last.details.status ?? last.details.error ?? last.text}, at ${moment(last.at, now)}.` : "";
    add(ERROR, "replicas", `Replicas of group ${group.name} exit again and again`,
      `${plural(Math.max(exits.length, restarts), "exit")} within ten minutes.${why}`, `loop ${group.name}`);
  } else if (exits.length > 0) {
    const last = exits.at(-1);
    add(WARNING, "replicas", `A replica of group ${group.name} exited`,
      `Replica ${last.replica ?? ""} at ${moment(last.at, now)}: ${last.details.status ?? last.details.error ?? last.text}.`, `loop ${group.name}`);
  }
  const running = group.replicas.filter((replica) => replica.state === "running").length;
  if (running < group.desired) {
    add(WARNING, "replicas", `Group ${group.name} has ${running} of ${plural(group.desired, "replica")}`,
      group.replicas.map((replica) => `${replica.name ?? replica.address ?? "a replica"} is ${replica.state}`).filter((text) => !text.endsWith("running")).join(", ") || "None of the others has been started.", `count ${group.name}`);
  }
}

function sum(replicas) {
  return (replicas ?? []).reduce((total, replica) => total + replica.restarts, 0);
}

function ofScaling(group, add) {
  const scaling = group.autoscaling;
  if (!scaling) return;
  // Without a replica that is warm there is nothing to measure.
  const missing = scaling.running > scaling.warming ? scaling.metrics.filter((metric) => metric.missing) : [];
  for (const metric of missing) {
    add(WARNING, "scaling", `The metric ${metric.metric} of group ${group.name} is missing`, metric.missing, `metric ${group.name} ${metric.metric}`);
  }
  if (scaling.alarm === "high" && scaling.desired >= scaling.max) {
    add(WARNING, "scaling", `Group ${group.name} is at its maximum of ${plural(scaling.max, "replica")}, and its load is high`, "More are not started: raise max.", `max ${group.name}`);
  }
  if (scaling.unrecorded > 0) {
    add(WARNING, "scaling", `${plural(scaling.unrecorded, "decision")} of group ${group.name} could not be recorded`, "The file of record cannot be written: a full disk, or rights that are missing.", `record ${group.name}`);
  }
}

// Limits that were reached, and what else only events tell.
function ofEvents({ events, now }, add) {
  const seen = new Set();
  for (const event of [...events].reverse()) {
    // The status tells of queues and of certificates that end.
    const isTold = (event.kind === "limit" && event.group) || (event.kind === "certificate" && event.details.file);
    if (!TITLES[event.kind] || isTold) continue;
    const lasting = Object.keys(LASTING).find((start) => event.text.startsWith(start));
    const key = `${event.kind} ${event.listener ?? event.target ?? event.details.name ?? lasting ?? ""}`;
    const isRecent = now - Date.parse(event.at) < RECENT;
    // The last one counts: it may say that all is well again.
    if (seen.has(key)) continue;
    seen.add(key);
    if (event.severity === "info" || (!isRecent && !lasting)) continue;
    const title = LASTING[lasting] ?? TITLES[event.kind](event);
    add(event.severity === "error" ? ERROR : WARNING, "events", title, `${moment(event.at, now)}: ${sentence(event)}`, key);
  }
}

// Texts of events that hold until another one of the same thing comes.
const LASTING = {
  "too few open files": "Too few open files are allowed for the connections that are configured",
  "the access log": "The access log cannot be written",
};

const TITLES = {
  limit: (event) => `A limit was reached${event.listener ? ` on listener ${event.listener}` : ""}`,
  handover: () => "A handover to another process failed",
  process: () => "A part of Weir failed",
  certificate: () => "A certificate could not be ordered or used",
};

// The text of an event with its other fields.
export function sentence(event) {
  const fields = Object.entries(event.details ?? {}).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  return [event.text, ...fields].join(" · ");
}
