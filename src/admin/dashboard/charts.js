// Charts of the last hour, drawn by hand as SVG: lines, and steps for counts.
//
// The plot is stretched to its place, and its labels are text beside it, so that they are as sharp and as large as all
// other text. Each chart says in words what it shows, for those that do not see it.

import { h, svg } from "./dom.js";
import { clock, NOTHING } from "./format.js";

const WIDTH = 600;
const HEIGHT = 120;

// The chart that the pointer is on, and where: 0 to 1.
export const pointed = { chart: null, x: 0 };

// The smallest of 1, 2, 2.5, 5 and 10 times a power of ten that is not below the value.
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= value * 0.9999);
}

function path(values, at, x, y, isStep) {
  let text = "";
  let before = null;
  values.forEach((value, index) => {
    if (value == null) {
      before = null;
      return;
    }
    const here = [x(at[index]).toFixed(1), y(value).toFixed(1)];
    if (before == null) text += `M${here[0]} ${here[1]}`;
    else text += isStep ? `H${here[0]}V${here[1]}` : `L${here[0]} ${here[1]}`;
    before = here;
  });
  // A step is in force until the next one.
  return isStep && before ? `${text}H${WIDTH}` : text;
}

function area(line, values, at, x) {
  const last = values.findLastIndex((value) => value != null);
  const first = values.findIndex((value) => value != null);
  // Of a line with gaps, none: it would cross them.
  const isWhole = first >= 0 && values.slice(first, last).every((value) => value != null);
  return isWhole && `${line}V${HEIGHT}H${x(at[first]).toFixed(1)}Z`;
}

function last(values) {
  return values.at(-1) ?? null;
}

// `lines` are { name, values, color: 1-6, isStep, isDashed, isFilled }; all values belong to the times `at`.
export function chart({ id, title, at, lines, from, to, format, least = 0, whole = false, note }) {
  const shown = at.map((time, index) => index).filter((index) => at[index] >= from);
  const times = shown.map((index) => at[index]);
  const cut = lines.map((line) => ({ ...line, values: shown.map((index) => line.values[index] ?? null) }));
  const all = cut.flatMap((line) => line.values).filter((value) => value != null);
  let top = ceiling(Math.max(least, ...all));
  // Half of it is written beside the plot.
  if (whole) top = 2 * Math.max(1, Math.ceil((Math.max(least, ...all) + 0.2) / 2));
  const x = (time) => ((time - from) / (to - from)) * WIDTH;
  const y = (value) => HEIGHT - (Math.min(value, top) / top) * (HEIGHT - 4) - 1;
  const isPointed = pointed.chart === id && times.length > 0;
  const nearest = isPointed ? near(times, from + pointed.x * (to - from)) : times.length - 1;
  const at_ = times[nearest];
  const legend = cut.map((line) =>
    h("li", null,
      svg("svg", { class: `swatch c${line.color}`, viewBox: "0 0 16 8", "aria-hidden": true },
        svg("line", { x1: 0, x2: 16, y1: 4, y2: 4, class: line.isDashed ? "dashed" : null })),
      h("span", { class: "name" }, line.name), " ",
      h("b", null, line.values[nearest] == null ? NOTHING : format(line.values[nearest]))));
  const summary = cut.map((line) => {
    const value = last(line.values);
    return `${line.name} ${value == null ? "no value" : format(value)}`;
  });
  return h("figure", { class: "chart", "data-key": id, "data-chart": id },
    h("figcaption", null, h("span", { class: "title" }, title),
      h("span", { class: "when" }, isPointed && at_ ? clock(at_) : note ?? "")),
    h("ul", { class: "legend" }, legend),
    h("div", { class: "plot" },
      h("div", { class: "scale", "aria-hidden": true }, h("span", null, format(top)), h("span", null, format(top / 2)), h("span", null, "0")),
      svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
        "aria-label": `${title}, now: ${summary.join(", ")}` },
        [0, 0.5, 1].map((part) => svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: y(top * part), y2: y(top * part) })),
        cut.map((line) => drawn(line, times, x, y)),
        isPointed && at_ && svg("line", { class: "cross", x1: x(at_), x2: x(at_), y1: 0, y2: HEIGHT })),
      all.length === 0 && h("p", { class: "empty" }, times.length ? "no values in this time" : "the first point comes within ten seconds")),
    h("div", { class: "axis", "aria-hidden": true }, [from, (from + to) / 2, to].map((time) => h("span", null, to - from < 5 * 60000 ? clock(time) : clock(time).slice(0, 5)))));
}

function drawn(line, times, x, y) {
  const d = path(line.values, times, x, y, line.isStep);
  const filled = line.isFilled && area(d, line.values, times, x);
  const style = `line c${line.color}${line.isDashed ? " dashed" : ""}`;
  return [filled && svg("path", { class: `area c${line.color}`, d: filled }), d && svg("path", { class: style, d })];
}

function near(times, time) {
  let found = 0;
  times.forEach((one, index) => {
    if (Math.abs(one - time) < Math.abs(times[found] - time)) found = index;
  });
  return found;
}

// A bar for a share of a limit, with a word for those that do not see it.
export function bar(value, limit, label) {
  const share = limit > 0 ? Math.min(1, value / limit) : 0;
  const level = share >= 1 ? "error" : share >= 0.8 ? "warning" : "good";
  return svg("svg", { class: `bar ${level}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("rect", { class: "whole", width: 100, height: 6 }),
    svg("rect", { class: "part", width: (share * 100).toFixed(1), height: 6 }));
}

// A small line without labels: what it shows stands beside it as a number.
export function spark(values, color) {
  const known = values.filter((value) => value != null);
  if (known.length < 2) return null;
  const top = Math.max(...known) || 1;
  const x = (index) => (index / (values.length - 1)) * 100;
  const d = path(values, values.map((_, index) => index), x, (value) => 23 - (value / top) * 22, false);
  return svg("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": true },
    svg("path", { class: `line c${color}`, d }));
}
