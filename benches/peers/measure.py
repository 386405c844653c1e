"""Times and instructions of proxies for one workload."""

import os
import re
import statistics
import tempfile
from pathlib import Path

from load import exact_client, load
from proxies import Backends, Failed, Process, free_ports, need


def times(proxies, options, workload, workers, directory):
    """Medians of rounds of load through every proxy with this many workers."""
    cpus = sorted(os.sched_getaffinity(0))
    own, others = ({cpus[0]}, {cpus[1]}) if workers == 1 and len(cpus) > 1 else (None, None)
    directory = readable(directory)
    proxies = [proxy for proxy in proxies if proxy.serves(workload.edge)]
    rounds = {proxy.name: [] for proxy in proxies}
    processes = {}
    try:
        backends = processes["backends"] = Backends(directory, others)
        backends.wait_for(backends.ports[0])
        ports = dict(zip(rounds, free_ports(len(proxies))))
        for proxy in proxies:
            servers = backends.ports_for(workload.edge)
            command = proxy.command(directory, ports[proxy.name], servers, workers, edge=workload.edge)
            processes[proxy.name] = Process(command, directory / f"{proxy.name}.out", own)
            processes[proxy.name].wait_for(ports[proxy.name])
            load(ports[proxy.name], 1, options.connections, others, workload)
        for number in range(options.rounds):
            for name in list(rounds) if number % 2 == 0 else reversed(rounds):
                rounds[name].append(one_round(processes[name], ports[name], options, others, workload))
    finally:
        for process in reversed(processes.values()):
            process.stop()
    return {name: median_of(runs) for name, runs in rounds.items()}


def one_round(process, port, options, cpus, workload):
    """One run of load through one proxy."""
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    user, system = process.cpu_ticks()
    result = load(port, options.seconds, options.connections, cpus, workload)
    user_after, system_after = process.cpu_ticks()
    microseconds = 1e6 / ticks_per_second / result.requests
    return {
        "requests_per_second": result.per_second,
        "p50_ms": result.p50_ms,
        "p99_ms": result.p99_ms,
        "user_us": (user_after - user) * microseconds,
        "system_us": (system_after - system) * microseconds,
        "cpu_us": (user_after - user + system_after - system) * microseconds,
        "rss_mib": process.memory() / 1024,
    }


def median_of(runs):
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def instructions(proxies, workload, directory):
    """User instructions per request of every proxy."""
    valgrind = need("valgrind")
    directory = readable(directory)
    counts = {}
    with Backends(directory) as backends:
        backends.wait_for(backends.ports[0])
        servers = backends.ports_for(workload.edge)
        for proxy in (proxy for proxy in proxies if proxy.serves(workload.edge)):
            once, twice = (
                count(valgrind, proxy, servers, directory, workload, requests)
                for requests in (workload.requests, 2 * workload.requests)
            )
            counts[proxy.name] = round((twice - once) / workload.requests)
    return counts


def count(valgrind, proxy, backends, directory, workload, requests):
    """All user instructions of a proxy from its start to its end, for this many requests."""
    (port,) = free_ports(1)
    profile = directory / f"callgrind.{proxy.name}.{requests}"
    tool = [valgrind, "--tool=callgrind", f"--callgrind-out-file={profile}"]
    command = proxy.command(directory, port, backends, 1, alone=True, edge=workload.edge)
    with Process(tool + command, directory / f"{proxy.name}.{requests}.out") as process:
        process.wait_for(port)
        with exact_client(port, workload) as client:
            client.send(requests)
        process.stop()
        try:
            return int(re.search(r"^totals: (\d+)", profile.read_text(), re.MULTILINE).group(1))
        except (OSError, AttributeError):
            raise Failed(f"callgrind counted nothing for {proxy.name}:\n{process.tail()}") from None


def readable(directory):
    """A new folder which the workers of nginx can read, although they run without root."""
    new = Path(tempfile.mkdtemp(dir=directory))
    new.chmod(0o755)
    return new
