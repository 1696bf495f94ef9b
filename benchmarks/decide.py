"""What one decision of policy costs, and what its rules cost to load: `python benchmarks/decide.py`.

Each policy is asked for hosts from all over the file, for names that no rule knows, and for
deep ones.  A figure is the median of single decisions, the clock's own time taken off; the
policy of a million names stands between other rules, as a block list does.  In the same run
some of the same questions are put to a loop over all rules, or names, as a file says them.
Memory is what the process holds more when all is loaded, and what it held more at most.
Where every fifth rule only reports, the first of them matches everything.  Of zones it is
measured what one address costs that is in the last of them.
"""

from __future__ import annotations

import gc
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from statistics import median, quantiles

from wsproxy.model import Host, Identity
from wsproxy.policy.addresses import compile_zone, vet
from wsproxy.policy.ask import Ask, tunnel_protocols
from wsproxy.policy.names import parse_names
from wsproxy.policy.rules import Rule, Rules, compile_rule, decide

ASKS = 20_000
NAIVE_S = 2.0
"""How long the loop is asked at most."""
KINDS = {"hosts": "one a host", "users": "one a user", "reports": "some only report"}
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


def reporting(rules: Sequence[Rule]) -> list[Rule]:
    """The same, every fifth of which only reports, and one ahead of them that meets everything."""
    changed = [replace(rule, report=number % 5 == 0) for number, rule in enumerate(rules)]
    return [compile_rule("all", {}, allow=False, report=True), *changed]


def cost_us(decide: Callable[[Ask], object], asks: list[Ask]) -> tuple[float, float]:
    """Median and 99th percentile of single decisions, in microseconds."""
    for one in asks[:500]:
        decide(one)
    clock = time.perf_counter_ns
    spent, idle = [], []
    for one in asks:
        # Made anew, as the gate does it: what is asked is in the cache, the rules need not be.
        fresh = one._replace(host=Host(str(one.host.text.encode(), "ascii")))
        began_at = clock()
        decide(fresh)
        ended_at = clock()
        spent.append(ended_at - began_at)
        idle.append(clock() - ended_at)
    own = median(idle)
    return (median(spent) - own) / 1000, (quantiles(spent, n=100)[98] - own) / 1000


def naive_us(decide: Callable[[Ask], object], asks: list[Ask]) -> float:
    """Median of single decisions of a loop, for as many asks as there is time, in microseconds."""
    spent: list[int] = []
    give_up_at = time.perf_counter() + NAIVE_S
    for one in asks:
        began_at = time.perf_counter_ns()
        decide(one)
        spent.append(time.perf_counter_ns() - began_at)
        if time.perf_counter() > give_up_at:
            break
    return median(spent) / 1000


def loop_over_rules(rules: Rules, ask: Ask) -> bool:
    """What the rules say, one after the other."""
    for rule in rules.rules:
        if all(condition(ask) for condition in rule.conditions) and not rule.report:
            return rule.allow
    return rules.default_allow


def loop_over_names(names: list[str], ask: Ask) -> bool:
    """Whether a host or a domain above it is among the names."""
    host = ask.host.text
    return any(host == name or host.endswith(f".{name}") for name in names)


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
    made = user_rules(count) if kind == "users" else host_rules(count)
    rules = Rules(False, tuple(reporting(made) if kind == "reports" else made))
    load_s = time.perf_counter() - began_at
    after, _ = held_mib()
    if kind == "users":
        asks = [ask("a.example", f"u{rng.randrange(count)}") for _ in range(ASKS)]
    else:
        asks = asks_for_hosts(count, rng)
    middle, late = cost_us(lambda one: decide(rules, one), asks)
    loop = naive_us(lambda one: loop_over_rules(rules, one), asks)
    print(
        f"{count:9,} rules, {KINDS[kind]:15} {middle:5.2f} µs median, {late:6.2f} µs p99,"
        f" a loop {loop:9,.0f} µs (x{loop / middle:,.0f}),"
        f" loaded in {load_s:5.2f} s, {after - before:5.1f} MiB"
    )


def measure_zones(count: int) -> None:
    """Prints a line for addresses that the last zone lets through."""
    zones = [compile_zone([f"*.z{n}.example"], ["10.0.0.0/8"], name=f"z{n}") for n in range(count)]
    inside = ip_address("10.1.2.3")
    asks = [ask(f"h{number}.z{count - 1}.example") for number in range(ASKS)]
    middle, late = cost_us(lambda one: vet(one.host, inside, zones), asks)
    print(f"{count:9,} zones                  {middle:5.2f} µs median, {late:6.2f} µs p99")


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
    middle, late = cost_us(lambda one: decide(rules, one), asks)
    plain = data.decode().split()
    loop = naive_us(lambda one: loop_over_names(plain, one), asks)
    print(
        f"{count:9,} names in a list        {middle:5.2f} µs median, {late:6.2f} µs p99,"
        f" a loop {loop:9,.0f} µs (x{loop / middle:,.0f}),"
        f" loaded in {load_s:5.2f} s, {after - before:5.1f} MiB ({most - before:.1f} at most)"
        f" for {len(data) / 2**20:.1f} MiB"
    )


def main() -> None:
    """Prints the figures, each measured in a process of its own."""
    if len(sys.argv) == 3:
        kind, count = sys.argv[1], int(sys.argv[2])
        match kind:
            case "names":
                measure_list(count)
            case "zones":
                measure_zones(count)
            case _:
                measure_rules(kind, count)
        return
    for kind, counts in (
        ("hosts", (10, 1000, 10_000)),
        ("users", (10, 1000, 10_000)),
        ("reports", (10, 1000, 10_000)),
        ("names", (1000, 1_000_000)),
        ("zones", (1, 10, 100)),
    ):
        for count in counts:
            subprocess.run([sys.executable, __file__, kind, str(count)], check=True)


if __name__ == "__main__":
    main()
