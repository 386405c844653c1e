// Elements, and how a page becomes another one.
//
// A view is made anew from the state each time, and `morph` changes the page into it: what is the same stays, with its
// focus, its selection and its scroll position. Texts become text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value == null) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== false && child != null) element.append(child);
  }
  return element;
}

export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

// What only its user changes: whether details are open, and what was typed.
const OWN = new Set(["open", "value", "checked"]);

function key(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;
}

function isAlike(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && key(one) === key(other);
}

// Changes `from` into `to`. An element with `data-keep` is left as it is.
export function morph(from, to) {
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  if (from.hasAttribute("data-keep")) return;
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !OWN.has(name)) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (!OWN.has(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  morphChildren(from, to);
}

function morphChildren(from, to) {
  const keyed = new Map();
  for (const child of from.children) {
    if (key(child) != null) keyed.set(key(child), child);
  }
  let at = from.firstChild;
  for (const next of [...to.childNodes]) {
    const known = key(next) == null ? at : keyed.get(key(next));
    if (known && isAlike(known, next)) {
      if (known === at) at = at.nextSibling;
      else from.insertBefore(known, at);
      morph(known, next);
    } else {
      from.insertBefore(next, at);
    }
  }
  while (at) {
    const rest = at.nextSibling;
    at.remove();
    at = rest;
  }
}

// A table whose rows are blocks on a narrow screen: each cell then carries its column's name.
// `columns` are names, or [name, class]; a row is [key, cells, attributes, a row below it].
export function table(caption, columns, rows) {
  const named = columns.map((column) => (Array.isArray(column) ? column : [column, null]));
  const cells = (row) =>
    row.map((cell, index) =>
      h("td", { class: named[index][1], "data-label": named[index][0] || null }, h("div", { class: "cell" }, cell)),
    );
  const body = rows.map(([name, row, attributes, below]) => [
    h("tr", { "data-key": name, ...attributes }, cells(row)),
    below && h("tr", { "data-key": `${name} more`, class: "below" }, h("td", { colspan: named.length }, below)),
  ]);
  return h(
    "table",
    null,
    h("caption", { class: "hidden" }, caption),
    h("thead", null, h("tr", null, named.map(([name, style]) => h("th", { scope: "col", class: style }, name)))),
    h("tbody", null, body),
  );
}
