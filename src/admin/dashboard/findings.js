// What is wrong now: the first thing that an operator looks for.
//
// The status tells it, in the words of `weir status` and with its thresholds. Here each gets a title that names what it
// concerns, and the view that shows more.

const VIEWS = {
  rule_never_matched: "rules",
  provider_fault: "replicas",
  replica_crash_loop: "replicas",
  at_max: "scaling",
  metric_missing: "scaling",
  decisions_unrecorded: "scaling",
};

export function findings({ status }) {
  const alike = new Map();
  return (status?.problems ?? []).map((problem) => {
    const place = subject(problem);
    const kind = `${problem.kind} ${place}`;
    const index = alike.get(kind) ?? 0;
    alike.set(kind, index + 1);
    return {
      severity: problem.severity,
      title: place ? `${place}: ${problem.text}` : capital(problem.text),
      detail: problem.hint && capital(problem.hint),
      view: VIEWS[problem.kind] ?? (problem.group ? "groups" : "config"),
      // Texts change every second, and a listener may have several of a kind.
      key: `${kind} ${index}`,
    };
  });
}

export function isSerious(finding) {
  return finding.severity !== "info";
}

function subject({ listener, group, target, replica }) {
  const parts = [listener && `listener ${listener}`, group && `group ${group}`, target && `target ${target}`, replica && `replica ${replica}`];
  return capital(parts.filter(Boolean).join(", "));
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
