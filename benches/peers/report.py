"""The numbers of a run as Markdown tables."""

from connections import KINDS
from workloads import SMALL_GET, WORKLOADS

PEERS = ("nginx", "haproxy")
COLUMNS = {
    "requests_per_second": ("requests/s", ",.0f"),
    "p50_ms": ("p50 ms", ".2f"),
    "p99_ms": ("p99 ms", ".2f"),
    "user_us": ("user µs", ".2f"),
    "system_us": ("system µs", ".2f"),
    "cpu_us": ("CPU µs", ".2f"),
    "rss_mib": ("RSS MiB", ".1f"),
}


def markdown(results):
    """The whole report."""
    parts = [heading(results)]
    if "instructions" in results:
        rows = results["instructions"]["workloads"]
        parts.append(table("user instructions per request", rows, WORKLOADS, ",.0f"))
    if "times" in results:
        single = {entry["workload"]: entry["proxies"] for entry in results["times"] if entry["workers"] == 1}
        for title, key, form, best in (
            ("CPU µs per request, one worker", "cpu_us", ".2f", min),
            ("requests/s, one worker", "requests_per_second", ",.0f", max),
        ):
            rows = {name: {proxy: one[key] for proxy, one in run.items()} for name, run in single.items()}
            parts.append(table(title, rows, WORKLOADS, form, best))
        parts += (details(entry) for entry in results["times"] if entry["workload"] == SMALL_GET.name)
    if "memory" in results:
        parts.append(table("bytes per client", results["memory"]["bytes_per_client"], KINDS, ",.0f"))
    return "\n\n".join(parts) + "\n"


def heading(results):
    machine, settings = results["machine"], results["settings"]
    lines = [
        f"Measured on {results['date']}.\n",
        *(f"- {version}" for version in dict.fromkeys(results["versions"].values())),
        *(f"- {name}: skipped; {reason}" for name, reason in results["skipped"].items()),
        f"- machine: {machine['cpus']} × {machine['model']}; {machine['memory_gib']} GiB; "
        f"Linux {machine['kernel']}; {machine['arch']}",
    ]
    if "times" in results:
        lines.append(f"- times: {settings['connections']} connections; medians of {settings['rounds']} rounds "
                     f"of {settings['seconds']} s")
    if "memory" in results:
        memory = results["memory"]
        lines.append(f"- memory: {memory['clients']} clients, {memory['unread']} which never read")
    return "\n".join(lines)


def table(title, rows, titles, form, best=min):
    """A table with a row for each workload or kind of client, a column for each proxy, and Weir's ratios."""
    proxies = list(dict.fromkeys(proxy for values in rows.values() for proxy in values))
    compared = {"weir", *PEERS} <= set(proxies)
    columns = [title, *proxies, *(["weir / nginx", "weir / better"] if compared else [])]
    lines = [row(columns), rule(len(columns))]
    for name, values in rows.items():
        cells = [number(values[proxy], form) if proxy in values else "–" for proxy in proxies]
        lines.append(row([titles[name].title, *cells, *(ratios(values, best) if compared else [])]))
    return "\n".join(lines)


def ratios(values, best):
    """Weir's to nginx, and to the better peer."""
    return ratio(values["weir"], values["nginx"]), ratio(values["weir"], best(values[peer] for peer in PEERS))


def details(entry):
    """All columns of the small GET: a row for each proxy."""
    workers = f"{entry['workers']} worker{'s'[: entry['workers'] > 1]}"
    lines = [row([f"small GET, {workers}", *(title for title, _ in COLUMNS.values())]), rule(len(COLUMNS) + 1)]
    for name, values in entry["proxies"].items():
        lines.append(row([name, *(number(values[key], form) for key, (_, form) in COLUMNS.items())]))
    return "\n".join(lines)


def number(value, form):
    """A number with spaces between groups of digits."""
    return format(value, form).replace(",", " ")


def ratio(value, other):
    return f"{value / other:.2f}" if other > 0 else "–"


def row(cells):
    return f"| {' | '.join(cells)} |"


def rule(columns):
    return "|---" + "|--:" * (columns - 1) + "|"
