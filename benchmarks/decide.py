"""What one decision of policy costs, and what its rules cost to load: `python benchmarks/decide.py`.

Each policy is asked for hosts from all over the file, for names that no rule knows, and for
deep ones.  A figure is the median of single decisions, the clock's own time taken off; the
policy of a million names stands between other rules, as a block list does.  Memory is what
the process holds more when all is loaded, and what it held more at most.
"""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from statistics import median, quantiles

from wsproxy.model import Host, Identity
from wsproxy.policy.ask import Ask, tunnel_protocols
from wsproxy.policy.names import parse_names
from wsproxy.policy.rules import Rule, Rules, compile_rule, decide

ASKS = 20_000
CLIENT = ip_address("192.0.2.7")
ALICE = Identity("alice", frozenset({"desk", "staff"}))


def ask(host: str, user: str = "alice") -> Ask:
    """A CONNECT to port 443."""
    who = ALICE if user == "alice" else Identity(user)
    return Ask(CLIENT, who, Host(host), 443, tunnel_protocols(443), "CONNECT", 1.8e9)


def host_rules(count: int) -> list[Rule]:
    """A rule a host, as a file that grew has them: some with ports, some with groups."""
    rules = []
    for number in range(count):
        names: list[str | int] = [f"h{number}.example.com", f"*.h{number}.example.com"]
        match number % 4:
            case 0:
                rule = compile_rule(f"r{number}", {"hosts": names}, allow=True)
            case 1:
                rule = compile_rule(f"r{number}", {"hosts": names, "ports": [443]}, allow=True)
            case 2:
                rule = compile_rule(f"r{number}", {"groups": ["desk"], "hosts": names}, allow=True)
            case _:
                rule = compile_rule(f"r{number}", {"hosts": names}, allow=False)
        rules.append(rule)
    # What is filed under no name is looked at every time.
    rules.insert(0, compile_rule("no-smtp", {"ports": [25]}, allow=False))
    rules.append(compile_rule("web", {"ports": [80, 443]}, allow=True))
    return rules


def user_rules(count: int) -> list[Rule]:
    """A rule a user, all for one host."""
    return [
        compile_rule(f"r{number}", {"users": [f"u{number}"], "hosts": ["a.example"]}, allow=True)
        for number in range(count)
    ]


def asks_for_hosts(count: int, rng: random.Random) -> list[Ask]:
    """A third named, a third below what is named, a third unknown."""
    asks = []
    for _ in range(ASKS):
        number = rng.randrange(count)
        kinds = (f"h{number}.example.com", f"www.eu.h{number}.example.com", f"x{number}.example")
        asks.append(ask(rng.choice(kinds)))
    return asks


def cost_us(rules: Rules, asks: list[Ask]) -> tuple[float, float]:
    """Median and 99th percentile of single decisions, in microseconds."""
    for one in asks[:500]:
        decide(rules, one)
    clock = time.perf_counter_ns
    spent, idle = [], []
    for one in asks:
        # Made anew, as the gate does it: what is asked is in the cache, the rules need not be.
        fresh = one._replace(host=Host(str(one.host.text.encode(), "ascii")))
        began_at = clock()
        decide(rules, fresh)
        ended_at = clock()
        spent.append(ended_at - began_at)
        idle.append(clock() - ended_at)
    own = median(idle)
    return (median(spent) - own) / 1000, (quantiles(spent, n=100)[98] - own) / 1000


def held_mib() -> tuple[float, float]:
    """Resident memory of this process, now and at most, in MiB."""
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines()
    )
    return tuple(int(status[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def names(count: int, rng: random.Random) -> bytes:
    """A block list of names of ordinary lengths."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
    lines = (
        f"{''.join(rng.choices(letters, k=rng.randint(4, 14)))}{number:x}."
        f"{rng.choice(('com', 'net', 'example', 'co.uk'))}\n".lstrip("-")
        for number in range(count)
    )
    return "".join(lines).encode()


def measure_rules(kind: str, count: int) -> None:
    """Prints a line for one kind of policy."""
    rng = random.Random(1)
    gc.collect()
    before, _ = held_mib()
    began_at = time.perf_counter()
    rules = Rules(False, tuple(host_rules(count) if kind == "hosts" else user_rules(count)))
    load_s = time.perf_counter() - began_at
    after, _ = held_mib()
    if kind == "hosts":
        asks = asks_for_hosts(count, rng)
    else:
        asks = [ask("a.example", f"u{rng.randrange(count)}") for _ in range(ASKS)]
    middle, late = cost_us(rules, asks)
    print(
        f"{count:9,} rules, one a {kind[:-1]:9} {middle:5.2f} µs median, {late:6.2f} µs p99,"
        f" loaded in {load_s:5.2f} s, {after - before:5.1f} MiB"
    )


def measure_list(count: int) -> None:
    """Prints a line for a block list between a hundred other rules."""
    rng = random.Random(1)
    data = names(count, rng)
    known = [line.decode() for line in rng.choices(data.split(b"\n")[:-1], k=ASKS // 2)]
    asks = [ask(name if rng.random() < 0.5 else f"a.b.{name}") for name in known]
    asks += [ask(f"www.h{rng.randrange(10**6)}.example.com") for _ in known]
    rng.shuffle(asks)
    gc.collect()
    before, _ = held_mib()
    began_at = time.perf_counter()
    listed = parse_names(data, "list.txt")
    load_s = time.perf_counter() - began_at
    after, most = held_mib()
    rule = compile_rule("block", {"hosts_file": [listed]}, allow=False)
    rules = Rules(False, (*host_rules(98)[:50], rule, *host_rules(98)[50:]))
    middle, late = cost_us(rules, asks)
    print(
        f"{count:9,} names in hosts_file    {middle:5.2f} µs median, {late:6.2f} µs p99,"
        f" loaded in {load_s:5.2f} s, {after - before:5.1f} MiB ({most - before:.1f} at most)"
        f" for {len(data) / 2**20:.1f} MiB"
    )


def main() -> None:
    """Prints the figures, each measured in a process of its own."""
    if len(sys.argv) == 3:
        kind, count = sys.argv[1], int(sys.argv[2])
        if kind == "names":
            measure_list(count)
        else:
            measure_rules(kind, count)
        return
    for kind, counts in (
        ("hosts", (10, 1000, 10_000)),
        ("users", (10, 1000, 10_000)),
        ("names", (1000, 1_000_000)),
    ):
        for count in counts:
            subprocess.run([sys.executable, __file__, kind, str(count)], check=True)


if __name__ == "__main__":
    main()
