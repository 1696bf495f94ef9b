"""wsproxy side by side with Squid, tinyproxy, Envoy and mitmproxy, in one run on this machine.

    python benchmarks/run.py [--sets open,guarded,ruled,inspected,intercepted] [--modes bulk16,...]
                             [--peers Squid,...] [--rounds 3] [--secs 1.5] [--write]

Each proxy is pinned to one core and the load (`load.c`, `tls_load.c`: clients and origin
in one process) to another.  Rounds interleave the proxies, so a machine whose speed drifts
is unfair to none of them.  What the figures mean: docs/benchmarks.md, into which
`--write` puts the tables.  Installs what is missing (Debian's packages as root).
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from certificates import Origin, make_origin
from peers import CACHE, CAPTURES, CREDENTIALS, PEERS, PEOPLE, PROJECT, RULED, Place, versions
from plan import MODES, SETS, Mode
from process import LOAD_CORE, PROXY_CORE, Proxy, run_proxy

DOCUMENT = PROJECT / "docs" / "benchmarks.md"
LOAD, TLS_LOAD = CACHE / "load", CACHE / "tls_load"
DIRECT = "no proxy"
SETTLE_S = 1.0
WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What the proxies of a set have in common.

    Attributes:
        folder: for theirs.
        origin: who the origin is when it speaks TLS.
        guarded: which of the two kinds of settings they get.
    """

    folder: Path
    origin: Origin
    guarded: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement, in the units of its mode."""

    value: float
    cpu: float | None = None
    failed: int = 0


Samples = dict[tuple[str, str], list[Sample]]
"""By mode and proxy."""


def load_command(mode: Mode, proxy: Proxy, seconds: float, scene: Scene) -> list[str]:
    program = TLS_LOAD if mode.is_tls else LOAD
    numbers = map(str, (proxy.port, mode.tunnels, seconds))
    command = ["taskset", "-c", str(LOAD_CORE), str(program), mode.load, *numbers]
    if mode.is_tls:
        return [*command, str(scene.origin.certificates)]
    return [*command, proxy.credentials] if proxy.credentials else command


def parse(line: str) -> dict[str, float]:
    return {key: float(value) for key, value in (pair.split("=") for pair in line.split())}


def run_load(mode: Mode, proxy: Proxy, seconds: float, scene: Scene) -> tuple[str, float]:
    """What the load program tells, and the processor time that the proxy used for it."""
    command = load_command(mode, proxy, seconds, scene)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None
        try:
            if mode.is_tls:
                load.stdout.readline()  # what was before is not counted
            before = proxy.cpu_s()
            told, _ = load.communicate(timeout=seconds + 20)
            used = proxy.cpu_s() - before
        finally:
            load.kill()
    if load.returncode:
        raise subprocess.CalledProcessError(load.returncode, command)
    return told, used


def measure_work(mode: Mode, proxy: Proxy, seconds: float, scene: Scene) -> Sample:
    told, used = run_load(mode, proxy, seconds, scene)
    figures = parse(told)
    total = figures["total_work"]
    if not total:
        raise ValueError(f"nothing came through, {int(figures['failed'])} clients failed")
    cpu = used / total * mode.cpu_scale if proxy.pid else None
    value = figures["p50_us"] / 1e6 if mode.is_latency else figures["work"] / figures["seconds"]
    return Sample(value * mode.scale, cpu, int(figures["failed"]))


def measure_memory(mode: Mode, proxy: Proxy, scene: Scene) -> Sample:
    before = proxy.pss_bytes()
    load = subprocess.Popen(
        load_command(mode, proxy, 0, scene),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert load.stdin is not None
    assert load.stdout is not None
    try:
        figures = parse(load.stdout.readline())
        time.sleep(SETTLE_S)
        held = proxy.pss_bytes() - before
        load.stdin.close()
        load.wait(20)
    finally:
        load.kill()
        load.wait()
    opened = figures["opened"] or 1
    return Sample(held / opened * mode.scale, failed=int(figures["failed"]))


@contextmanager
def run_peer(name: str, scene: Scene) -> Iterator[Proxy]:
    if name == DIRECT:
        yield Proxy(0, 0)
        return
    folder = scene.folder
    home = Path(tempfile.mkdtemp(dir=folder, prefix=f"{name.replace(' ', '-')}-"))
    home.chmod(0o755)
    log = folder / f"{home.name}.log"

    def command(port: int) -> list[str]:
        return PEERS[name](Place(port, home, scene.guarded, scene.origin.authority))

    with run_proxy(command, log, cwd=PROJECT) as proxy:
        credentials = CREDENTIALS if scene.guarded else ""
        if name == RULED:
            credentials = f"@{home / PEOPLE}"
            # What is measured has every user's credentials verified already.
            run_load(MODES["connect16"], replace(proxy, credentials=credentials), WARM_UP_S, scene)
        yield replace(proxy, credentials=credentials)
    look_for_gaps(name, home / CAPTURES)


def look_for_gaps(name: str, captures: Path) -> None:
    """Says so when records were dropped: their figures would be of something else."""
    for path in captures.glob("*.jsonl"):
        with path.open("rb") as lines:
            for line in lines:
                if line.startswith(b'{"event":"dropped"'):
                    print(f"{name}: {line.decode().strip()}", file=sys.stderr)


def take(
    samples: Samples, mode: str, name: str, proxy: Proxy, seconds: float, scene: Scene
) -> None:
    """One measurement; what fails is said and leaves no sample."""
    setting = MODES[mode]
    try:
        if setting.load == "idle":
            sample = measure_memory(setting, proxy, scene)
        else:
            sample = measure_work(setting, proxy, seconds, scene)
    except (subprocess.SubprocessError, ValueError) as error:
        print(f"{mode:10} {name:16} failed: {error}", file=sys.stderr)
        return
    samples[mode, name].append(sample)
    cpu = f"{sample.cpu:8.1f} {setting.cpu_unit}" if sample.cpu and setting.cpu_unit else ""
    lost = f"  {sample.failed} failed" if sample.failed else ""
    print(f"{mode:10} {name:16} {sample.value:8.2f} {setting.unit:5}{cpu}{lost}", file=sys.stderr)


def measure_set(kind: str, options: argparse.Namespace, folder: Path, origin: Origin) -> Samples:
    """All modes of one set for all its proxies, round by round."""
    setting = SETS[kind]
    scene = Scene(folder, origin, setting.guarded)
    samples: Samples = defaultdict(list)
    modes = [mode for mode in setting.modes if mode in options.modes]
    peers = [name for name in setting.peers if name in options.peers]
    shared = [mode for mode in modes if not MODES[mode].is_of_fresh_process]
    direct = [DIRECT] if setting.direct else []
    with ExitStack() as running:
        names = [*direct, *(peers if shared else ())]
        proxies = {name: running.enter_context(run_peer(name, scene)) for name in names}
        for number in range(options.rounds):
            for mode in shared:
                for name in names[number:] + names[:number]:
                    take(samples, mode, name, proxies[name], options.secs, scene)
    # The others are measured in processes that have done nothing else yet.
    for _ in range(min(options.rounds, 2)):
        for mode in (mode for mode in modes if mode not in shared):
            for name in [*(direct if MODES[mode].is_tls else ()), *peers]:
                with run_peer(name, scene) as proxy:
                    take(samples, mode, name, proxy, 0, scene)
    return samples


def cell(values: Sequence[float], references: Sequence[float]) -> str:
    """Median, spread, and the ratios to the references."""
    if not values:
        return "-"
    middle = statistics.median(values)
    digits = 2 if middle < 10 else 1 if middle < 100 else 0
    text = f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"
    return " ".join([text, *(f"x{middle / reference:.2f}" for reference in references)])


def row(title: str, by_name: dict[str, list[float]], references: Sequence[str]) -> str:
    middles = [statistics.median(values) for name in references if (values := by_name.get(name))]
    lone = {DIRECT, *(references if len(references) == 1 else ())}
    cells = [cell(values, middles if name not in lone else ()) for name, values in by_name.items()]
    return f"| {title} | {' | '.join(cells)} |"


def table(kind: str, samples: Samples, options: argparse.Namespace) -> str:
    """The samples of one set as Markdown."""
    setting = SETS[kind]
    present = [name for name in setting.peers if name in options.peers]
    references = [name for name in setting.references if name in present]
    names = [DIRECT, *present] if setting.direct else present
    lines = [
        f"### {setting.title}",
        "",
        f"| ratios to {' and to '.join(references) or 'nothing'} | {' | '.join(names)} |",
        "|---" * len(names) + "|---|",
    ]
    failed = []
    for name_of_mode in setting.modes:
        mode = MODES[name_of_mode]
        taken = {name: samples.get((name_of_mode, name), []) for name in names}
        if not any(taken.values()):
            continue
        values = {name: [sample.value for sample in taken[name]] for name in names}
        lines.append(row(f"{mode.title}, {mode.unit}", values, references))
        if mode.cpu_unit:
            cpu = {name: [s.cpu for s in taken[name] if s.cpu is not None] for name in names}
            lines.append(row(f"its processor time, {mode.cpu_unit}", cpu, references))
        lost = {name: sum(sample.failed for sample in taken[name]) for name in names}
        failed += [f"{name} {count} ({mode.title})" for name, count in lost.items() if count]
    if failed:
        lines += ["", f"Clients that failed: {', '.join(failed)}."]
    return "\n".join(lines)


def machine(options: argparse.Namespace, began: float) -> str:
    """Where, when and with what it was measured."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    measured = {name for kind in options.sets for name in SETS[kind].peers}
    found = versions(["wsproxy", *(name for name in options.peers if name in measured)])
    used = ", ".join(f"{name} {version}" for name, version in found.items())
    return (
        f"{time.strftime('%Y-%m-%d', time.gmtime(began))}; "
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores; "
        f"Linux {platform.release()}; Python {platform.python_version()}; {used}; "
        f"{options.rounds} rounds of {options.secs:g} s; {time.time() - began:.0f} s in all; "
        f"load average {os.getloadavg()[0]:.1f} at the end."
    )


def write(text: str) -> None:
    """Puts the tables between the markers of the document."""
    document = DOCUMENT.read_text(encoding="utf-8")
    marked = re.compile(r"(<!-- figures -->\n).*(<!-- /figures -->)", re.DOTALL)
    if not marked.search(document):
        raise SystemExit(f"{DOCUMENT} has no <!-- figures --> markers")
    replaced = marked.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", document)
    DOCUMENT.write_text(replaced, encoding="utf-8")


def set_up() -> None:
    """Everything that is needed and not there yet."""
    if LOAD_CORE == PROXY_CORE:
        raise SystemExit("two cores are needed: one for the load, one for the proxy")
    os.environ["PATH"] += ":/usr/sbin"  # where Debian keeps squid
    if subprocess.run([PROJECT / "scripts" / "setup-system", "bench"], check=False).returncode:
        raise SystemExit(1)
    CACHE.mkdir(parents=True, exist_ok=True)
    for program, libraries in ((LOAD, ()), (TLS_LOAD, ("-lssl", "-lcrypto"))):
        source = Path(__file__).with_name(f"{program.name}.c")
        subprocess.run(["gcc", "-O2", "-Wall", "-o", program, source, *libraries], check=True)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def names_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Reads a list with commas, any case."""

    def split(text: str) -> list[str]:
        by_key = {name.lower(): name for name in known}
        try:
            return [by_key[part.strip().lower()] for part in text.split(",")]
        except KeyError as error:
            message = f"no {error}; there are {', '.join(known)}"
            raise argparse.ArgumentTypeError(message) from None

    return split


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for option, known in (("sets", [*SETS]), ("modes", [*MODES]), ("peers", [*PEERS])):
        parser.add_argument(
            f"--{option}", type=names_of(known), default=known, help=", ".join(known)
        )
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each figure")
    parser.add_argument("--secs", type=float, default=1.5, help="length of one, in seconds")
    parser.add_argument("--write", action="store_true", help="put the tables into the document")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what runs is stopped
    set_up()
    began = time.time()
    tables = []
    with tempfile.TemporaryDirectory(prefix="wsproxy-bench-") as folder:
        Path(folder).chmod(0o755)  # squid works as another user
        origin = make_origin(Path(folder))
        for kind in options.sets:
            print(f"{SETS[kind].title}:", file=sys.stderr)
            samples = measure_set(kind, options, Path(folder), origin)
            tables.append(table(kind, samples, options))
    text = "\n\n".join([machine(options, began), *tables])
    print(text)
    if options.write:
        write(text)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None
