"""Runs an image's file system in the sandbox scripts/image-test made, and drives it with curl.

    image_drive.py ROOT CONFIG.json

Called inside fresh mount, network and process namespaces, as root; everything
that is mounted or started here is gone when this process ends.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
PROXY = "http://127.0.0.1:8080"
SCRATCH = ("tmp", "var/lib/wsproxy")  # the only places the image may write to
STOP_S = 10.0  # `docker stop` kills after that many seconds
SETPRIV, CHROOT = shutil.which("setpriv") or "setpriv", shutil.which("chroot") or "/usr/sbin/chroot"

LOCAL_ORIGINS = """\
listeners: [{address: 127.0.0.1:8080}]
policy:
  default: allow
  private_networks: [{hosts: [127.0.0.1], networks: [127.0.0.0/8]}]
timeouts: {drain: 2s}
"""


def say(text: str) -> None:
    print(f"image-test: {text}", flush=True)


def check(what: str, is_: object, should: object) -> None:
    """Ends the run unless both are equal."""
    if is_ != should:
        raise SystemExit(f"image-test: FAILED: {what}: {is_!r}, should be {should!r}")
    say(what)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


class Image:
    """The image's file system, read-only, used by a user id that exists nowhere."""

    def __init__(self, source: Path, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.environment = dict(pair.split("=", 1) for pair in settings["Env"])
        self.uid = random.randint(100_000, 900_000)
        self.root = Path(tempfile.mkdtemp(prefix="image-root-"))
        self.etc = self.root.with_name(f"{self.root.name}-etc")
        shutil.copytree(source / "etc/wsproxy", self.etc)
        mount("--bind", str(source), str(self.root))
        mount("-o", "remount,bind,ro", str(self.root))
        for scratch in SCRATCH:
            mount("-t", "tmpfs", "-o", "mode=1777,size=16m", "scratch", f"{self.root}/{scratch}")
        mount("-t", "proc", "proc", f"{self.root}/proc")
        mount("--bind", "/dev", f"{self.root}/dev")
        mount("--bind", str(self.etc), f"{self.root}/etc/wsproxy")  # as `docker run -v` does

    def command(self, *arguments: str) -> list[str]:
        """`arguments` inside the image, without privileges and without a way to any."""
        user = f"--userspec={self.uid}:{self.uid}"
        return [SETPRIV, "--no-new-privs", CHROOT, user, "--groups=", str(self.root), *arguments]

    def run(self, *arguments: str, stdin: str = "") -> int:
        """Runs one command to its end; its exit status."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            input=stdin.encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            say(f"{' '.join(arguments)}: {done.stderr.decode().strip()}")
        return done.returncode

    def health(self) -> int:
        """Runs the health check of the image; its exit status."""
        return self.run(*self.settings["Healthcheck"]["Test"][1:])

    @contextlib.contextmanager
    def proxy(self, title: str) -> Iterator[None]:
        """What `docker run` starts; at the end, that `docker stop` ends it in time, status 0."""
        say(f"-- {title}, as user {self.uid}")
        start = self.command(*self.settings["Entrypoint"], *self.settings["Cmd"])
        with tempfile.TemporaryFile() as output:
            running = subprocess.Popen(start, env=self.environment, stdout=output, stderr=output)
            try:
                curl("--retry", "20", "--retry-connrefused", "--retry-delay", "1", PROXY)
                yield
                running.send_signal(signal.Signals[self.settings["StopSignal"]])
                check("it stops in time with status 0", running.wait(STOP_S), 0)
            except BaseException:
                running.kill()
                output.seek(0)
                sys.stderr.write(output.read().decode(errors="replace"))
                raise


def curl(*arguments: str) -> str:
    """The statuses curl saw: that of the answer and that of CONNECT, ``000`` for none."""
    done = subprocess.run(
        [
            *("curl", "-sS", "-m", "20", "--noproxy", "", "-o", "/dev/null"),
            *("-w", "%{http_code} %{http_connect}", *arguments),
        ],
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return done.stdout


def serve_origin() -> str:
    """Starts a web server on loopback that answers 204 to everything; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def packaged(image: Image, origin: str) -> None:
    """`docker run -p 8080:8080 wsproxy`, as it is."""
    with image.proxy("the packaged configuration"):
        check("GET / gives the help page", curl(PROXY), "200 000")
        check("a private address is refused", curl("-x", PROXY, origin), "403 000")
        check("so is a tunnel to one", curl("-p", "-x", PROXY, origin), "000 403")
        check("the health command finds it well", image.health(), 0)
    check("the health command finds it gone", image.health(), 1)
    left = [path.name for place in SCRATCH for path in (image.root / place).iterdir()]
    check("nothing was written anywhere", left, [])


def mounted(image: Image, origin: str) -> None:
    """A configuration of the user's in place of the packaged one."""
    (image.etc / "wsproxy.yaml").write_text(LOCAL_ORIGINS)
    with image.proxy("a configuration that lets loopback be reached"):
        check("a request is forwarded", curl("-x", PROXY, origin), "204 000")
        check("a tunnel is opened", curl("-p", "-x", PROXY, origin), "204 200")
        check("the health command finds it well", image.health(), 0)


def with_users(image: Image, origin: str) -> None:
    """config/docker.yaml, with a users file by secret and a realm by environment."""
    shutil.copy(PROJECT / "config/docker.yaml", image.etc / "wsproxy.yaml")
    (image.etc / "wsproxy.yaml").chmod(0o644)
    users = "/var/lib/wsproxy/users"
    made = image.run("wsproxy", "passwd", users, "alice", "--password-stdin", stdin="open sesame\n")
    check("`wsproxy passwd` writes a users file", made, 0)
    image.environment |= {"WSPROXY_USERS": users, "PROXY_REALM": "the office"}
    with image.proxy("config/docker.yaml"):
        tunnel = ("-p", "-x", PROXY, origin)
        check("without a password: 407", curl(*tunnel), "000 407")
        check("with a wrong one: 407", curl("-U", "alice:wrong", *tunnel), "000 407")
        right = curl("-U", "alice:open sesame", *tunnel)
        check("with the right one: known, and refused by the rules: 403", right, "000 403")
        check("the health command finds it well", image.health(), 0)


def main(root: str, settings: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    image = Image(Path(root), json.loads(Path(settings).read_text()))
    check("`wsproxy version` runs", image.run("wsproxy", "version"), 0)
    origin = serve_origin()
    packaged(image, origin)
    mounted(image, origin)
    with_users(image, origin)


if __name__ == "__main__":
    main(*sys.argv[1:])
