"""The numbers of a run as a bar chart: an SVG document, dark where the reader prefers that."""

from html import escape

from connections import KINDS
from report import number
from workloads import WORKLOADS

# All lengths are pixels.
WIDTH = 900
LABEL = 230
VALUE = 90
BAR = 14
GAP = 12
TITLE = 40
MARGIN = 16
# L4 is a paler shade of the same colour.
COLOURS = {
    "weir": "#2b7fd4",
    "weir-tcp": "#8fbdec",
    "nginx": "#3c9a5f",
    "haproxy": "#c9722b",
    "haproxy-tcp": "#e6b48a",
}
STYLE = """
.paper { fill: #ffffff; }
text { font: 13px sans-serif; fill: #26323a; }
.title { font-weight: bold; font-size: 15px; }
.faint { fill: #5f6f78; font-size: 12px; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #10171c; }
  text { fill: #e4e9ec; }
  .faint { fill: #a3b0b8; }
}
"""


def svg(results):
    """Bars in panels; the longest bar of each group has the same length."""
    parts, y = [], MARGIN
    parts.append(text(MARGIN, y + 12, "Weir beside its peers", "title"))
    machine = results["machine"]
    where = f"{results['date']}, {machine['cpus']} × {machine['model']}"
    parts.append(text(MARGIN, y + 32, f"{where}; shorter is better, each group has its own scale", "faint"))
    y += 44
    parts += legend(results["versions"], y)
    y += 16
    for title, rows, titles, form in panels(results):
        y += TITLE
        parts.append(text(MARGIN, y - 12, title, "title"))
        for name, values in rows.items():
            parts += group(y, titles[name].title, values, form)
            y += len(values) * BAR + GAP
    height = y + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
        f"<title>Weir beside its peers</title><style>{STYLE}</style>"
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def panels(results):
    """Title, rows, titles of the rows and format of each panel."""
    if "instructions" in results:
        yield "user instructions per request", results["instructions"]["workloads"], WORKLOADS, ",.0f"
    single = [entry for entry in results.get("times", []) if entry["workers"] == 1]
    if single:
        rows = {
            entry["workload"]: {name: values["cpu_us"] for name, values in entry["proxies"].items()}
            for entry in single
        }
        yield "CPU µs per request, one worker", rows, WORKLOADS, ".1f"
    if "memory" in results:
        yield "bytes per client", results["memory"]["bytes_per_client"], KINDS, ",.0f"


def legend(versions, y):
    x = MARGIN
    for name in versions:
        yield f'<rect x="{x}" y="{y}" width="{BAR}" height="{BAR}" fill="{COLOURS[name]}"/>'
        yield text(x + BAR + 5, y + BAR - 2, name)
        x += 120


def group(y, title, values, form):
    """The bars of one row, one below the other."""
    yield text(LABEL - 8, y + len(values) * BAR / 2 + 4, title, anchor="end")
    longest = max(max(values.values()), 1e-9)
    for index, (name, value) in enumerate(values.items()):
        top = y + index * BAR
        length = max((WIDTH - LABEL - VALUE - MARGIN) * value / longest, 1)
        yield f'<rect x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR - 1}" fill="{COLOURS[name]}"/>'
        yield text(LABEL + length + 5, top + BAR - 3, number(value, form), "faint")


def text(x, y, content, kind="", anchor="start"):
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(content)}</text>'
