"""Headless Chromium, driven over the DevTools protocol on two pipes.

Pipes instead of the usual WebSocket: no port to find out, and the browser ends
when its end of the pipe does.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .clients import PATIENCE_S, Credentials, environment

_SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
    # Its own errands to Google stay at home: past the proxy, and resolved to nothing.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE *.localhost, EXCLUDE localhost",
    # Chromium never sends loopback through a proxy unless told so.
    "--proxy-bypass-list=<-loopback>;*.google.com;*.googleapis.com;*.gvt1.com",
)


class Page:
    """One tab.

    Args:
        commands: descriptor the browser reads commands from.
        events: descriptor the browser writes answers and events to.
        credentials: what a proxy's challenge is answered with; None cancels it.
    """

    def __init__(self, commands: int, events: int, credentials: Credentials | None) -> None:
        self._commands = commands
        self._events = events
        self._credentials = credentials
        self._selector = selectors.DefaultSelector()
        self._selector.register(events, selectors.EVENT_READ)
        self._numbers = itertools.count(1)
        self._received = b""
        self._session = ""
        self.challenges = 0

    def open_tab(self) -> None:
        """A blank tab whose challenges come here."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        self._call("Page.enable")
        self._call("Fetch.enable", handleAuthRequests=True)

    def visit(self, url: str) -> str:
        """Opens `url`, waits for its load event and returns the error's name, or nothing."""
        told = self._call("Page.navigate", url=url)
        if "errorText" in told:
            return str(told["errorText"])
        while self._next_message().get("method") != "Page.loadEventFired":
            pass
        return ""

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        told = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = self._post(method, parameters)
        while (message := self._next_message()).get("id") != number:
            pass
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def _post(self, method: str, parameters: dict[str, Any]) -> int:
        number = next(self._numbers)
        command: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        return number

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            assert self._selector.select(PATIENCE_S), "the browser is silent"
            part = os.read(self._events, 256 * 1024)
            assert part, "the browser ended"
            self._received += part
        line, _, self._received = self._received.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._react(message)
        return message

    def _react(self, message: dict[str, Any]) -> None:
        match message.get("method"):
            case "Fetch.requestPaused":
                self._post("Fetch.continueRequest", {"requestId": message["params"]["requestId"]})
            case "Fetch.authRequired":
                self.challenges += 1
                self._post(
                    "Fetch.continueWithAuth",
                    {
                        "requestId": message["params"]["requestId"],
                        "authChallengeResponse": self._answer(message["params"]["authChallenge"]),
                    },
                )

    def _answer(self, challenge: dict[str, str]) -> dict[str, str]:
        assert challenge["source"] == "Proxy", challenge
        # Asked again, the browser was told that the answer is wrong: a person would give up.
        if self._credentials is None or self.challenges > 1:
            return {"response": "CancelAuth"}
        return {
            "response": "ProvideCredentials",
            "username": self._credentials.user,
            "password": self._credentials.password,
        }


def _trust(home: Path, authorities: Sequence[Path]) -> None:
    """Makes the database of certificates that Chromium reads on Linux."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    commands: list[list[str]] = [["-N", "--empty-password"]]
    for authority in authorities:
        commands.append(["-A", "-n", str(authority), "-t", "C,,", "-i", str(authority)])
    for command in commands:
        subprocess.run(["certutil", "-d", f"sql:{database}", *command], check=True)


def _prepare_tickets(profile: Path) -> None:
    """Has a new profile know that a server has asked for Negotiate before.

    Otherwise the first challenge is lost: Chromium only then restarts its network service outside
    the sandbox in which no Kerberos library can be loaded.
    """
    profile.mkdir()
    state = {"net": {"received_http_auth_negotiate_headers": True}}
    (profile / "Local State").write_text(json.dumps(state), encoding="ascii")


@contextlib.contextmanager
def run_chromium(
    home: Path,
    proxy: str,
    *,
    credentials: Credentials | None = None,
    authorities: Sequence[Path] = (),
    tickets: Mapping[str, str] | None = None,
) -> Iterator[Page]:
    """Debian's Chromium with a new profile and one tab, all of whose traffic uses `proxy`.

    Args:
        home: its folder.
        proxy: URL.
        credentials: see `Page`.
        authorities: PEM files of what it trusts; with none it takes every certificate.
        tickets: environment with Kerberos tickets, which it may use for ``*.localhost``.
    """
    switches = [*_SWITCHES]
    if tickets is not None:
        switches.append("--auth-server-allowlist=*.localhost")
        _prepare_tickets(home / "profile")
    if authorities:
        _trust(home, authorities)
    else:
        switches.append("--ignore-certificate-errors")
    browser_reads, commands = os.pipe()
    events, browser_writes = os.pipe()
    command = [
        *("bash", "-c", f'exec "$@" 3<&{browser_reads} 4>&{browser_writes}', "bash"),
        *("/usr/bin/chromium", *switches, f"--user-data-dir={home / 'profile'}"),
        *(f"--proxy-server={proxy}", "about:blank"),
    ]
    with (home / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            pass_fds=(browser_reads, browser_writes),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(home) | dict(tickets or {}),
        )
    os.close(browser_reads)
    os.close(browser_writes)
    try:
        page = Page(commands, events, credentials)
        page.open_tab()
        yield page
    finally:
        os.close(commands)
        os.close(events)
        process.terminate()
        process.wait(PATIENCE_S)
