// How values are written: for eyes, in as few characters as say it.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const NOTHING = "–";

export function count(value) {
  if (value == null) return NOTHING;
  if (Math.abs(value) < 10000) return whole.format(value);
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size) return `${(value / size).toPrecision(3)} ${unit}`;
  }
  return whole.format(value);
}

export function rate(value) {
  if (value == null) return NOTHING;
  return value === 0 || value >= 10 ? count(value) : value.toFixed(value < 1 ? 2 : 1);
}

export function millis(value) {
  if (value == null) return NOTHING;
  if (value < 10) return `${value.toFixed(value < 1 ? 2 : 1)} ms`;
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(2)} s`;
}

export function percent(value, digits = 0) {
  return value == null ? NOTHING : `${value.toFixed(digits)} %`;
}

export function bytes(value) {
  if (value == null) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(unit > 0 && value < 10 ? 1 : 0)} ${units[unit]}`;
}

// A time span in seconds: its two largest units.
export function span(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return NOTHING;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min${whole < 600 && whole % 60 ? ` ${whole % 60} s` : ""}`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB");
}

export function day(time) {
  return new Date(time).toLocaleDateString("en-CA");
}

// With the date unless it is of today.
export function moment(time, now) {
  if (time == null) return NOTHING;
  return day(time) === day(now) ? clock(time) : `${day(time)} ${clock(time)}`;
}

export function since(time, now) {
  return time == null ? NOTHING : span((now - Date.parse(time)) / 1000);
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

// `response_code_mismatch` and `Target.ResponseCodeMismatch` for people.
export function words(name) {
  return String(name)
    .replace(/^(Target|Elb)\./, "")
    .replace(/([a-z])([A-Z])/g, "$1 $2")
    .replaceAll("_", " ")
    .toLowerCase();
}
