"""``wsproxy explain``: what would happen to a request, and why."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import ip_address

import click
import trio

from wsproxy.cli.questions import People, at_time, parse_time, runtime_of
from wsproxy.config.load import default, load
from wsproxy.config.schema import Settings
from wsproxy.model import Address, AddressVerdict
from wsproxy.observe.decision import decision_fields
from wsproxy.proxy.explain import Explanation, Question, parse_question_url
from wsproxy.proxy.explain import explain as ask

__all__ = ["explain"]


@click.command(
    epilog="Example: wsproxy explain --config wsproxy.yaml --user alice wss://example.com/chat"
)
@click.option(
    "--config", "file", metavar="FILE", help="Configuration file; the embedded default without."
)
@click.option("--user", metavar="NAME", help="Who asks; nobody by default.")
@click.option(
    "--group",
    "groups",
    metavar="NAME",
    multiple=True,
    help="Of the user; as in the users file by default.",
)
@click.option(
    "--client",
    metavar="IP",
    default="127.0.0.1",
    show_default=True,
    help="Where the request comes from.",
)
@click.option("--method", metavar="NAME", default="GET", show_default=True, help="Of the request.")
@click.option("--origin", metavar="ORIGIN", help="Of the page that opens a WebSocket.")
@click.option(
    "--subprotocol", "subprotocols", metavar="NAME", multiple=True, help="That a WebSocket offers."
)
@click.option(
    "--resolve",
    "known",
    metavar="NAME=IP",
    multiple=True,
    help="Take this address; look nothing up. More than once for several.",
)
@click.option(
    "--at", "moment", metavar="TIME", help="When; 2026-03-04T12:00:00+01:00; now by default."
)
@click.option("--json", "as_json", is_flag=True, help="Print the decision as JSON.")
@click.argument("url")
def explain(  # noqa: PLR0917 - one for each option
    file: str | None,
    user: str | None,
    groups: Sequence[str],
    client: str,
    method: str,
    origin: str | None,
    subprotocols: Sequence[str],
    known: Sequence[str],
    moment: str | None,
    as_json: bool,
    url: str,
) -> int:
    """Say what would happen to a request for URL, and why: by the code that decides live.

    Exit status: 0 it would be allowed, 1 it would be refused.
    """
    config = default() if file is None else load(file)
    try:
        question = Question(
            target=parse_question_url(url),
            client=_address("--client", client),
            identity=People(config).identity_of(user, groups),
            method=method,
            origin=origin,
            subprotocols=subprotocols,
        )
        addresses = _known(known)
        at = None if moment is None else parse_time(moment)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    runtime = runtime_of(config) if at is None else at_time(runtime_of(config), at)

    async def run() -> Explanation:
        return await ask(runtime, question, known=addresses)

    said = trio.run(run)
    limits = _limits(config.settings, said, named=question.identity is not None)
    click.echo(
        json.dumps({**_as_dict(said, config.file), "limits": limits}, indent=2)
        if as_json
        else "\n".join([_as_text(said, config.file), *_limit_rows(limits)])
    )
    return 0 if said.allow else 1


def _limits(settings: Settings, said: Explanation, *, named: bool) -> dict[str, object]:
    """What bounds it, as it is written; of the rule first, then of all that ask."""
    if not said.allow:
        return {}
    found: dict[str, object] = {}
    for rule in settings.policy.rules:
        if rule.name == said.rule:
            found |= rule.limits.model_dump(exclude_none=True)
    for key, value in settings.limits.model_dump(exclude_none=True).items():
        if "_per_" in key and (named or not key.endswith("_per_user")):
            found[key] = value
    return found


def _limit_rows(limits: dict[str, object]) -> list[str]:
    return [f"{'limit':<12} {key}: {value}" for key, value in limits.items()]


def _known(texts: Sequence[str]) -> dict[str, list[Address]]:
    known: dict[str, list[Address]] = {}
    for text in texts:
        name, equals, address = text.partition("=")
        if not name or not equals:
            raise ValueError(f"--resolve {text}: expected NAME=IP")
        known.setdefault(name.lower(), []).append(_address(f"--resolve {name}", address))
    return known


def _address(option: str, text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"{option}: {text!r} is no IP address") from None


def _as_dict(said: Explanation, file: str) -> dict[str, object]:
    exchange = said.exchange
    return {
        "decision": said.verdict,
        "rule": said.rule,
        "file": file if said.line else None,
        "line": said.line or None,
        "reason": said.reason,
        "message": said.message or None,
        "would_deny": list(exchange.would_deny),
        "would_allow": list(exchange.would_allow),
        **(decision_fields(exchange) or {}),
        "source": [str(one) for one in said.source] if said.allow else [],
        "tls": said.tls if said.allow else None,
        "websocket": said.websocket,
        "error": said.failure or None,
    }


def _as_text(said: Explanation, file: str) -> str:
    exchange, judged = said.exchange, said.exchange.judged
    rows = [
        ("decision", said.verdict),
        ("rule", f"{said.rule} ({file}:{said.line})" if said.line else said.rule),
        ("because", said.reason),
    ]
    if said.message:
        rows.append(("message", said.message))
    if judged is not None and judged.rule != said.rule:
        place = f" ({judged.file}:{judged.line})" if judged.line else ""
        rows.append(("by name", f"{judged.reason}{place}"))
    rows += [("would deny", name) for name in exchange.would_deny]
    rows += [("would allow", name) for name in exchange.would_allow]
    rows += [("address", _address_text(one, said.source)) for one in exchange.addresses]
    if said.failure:
        rows.append(("address", said.failure))
    if said.allow:
        rows += [("route", said.route)]
        rows += [("source", str(address)) for address in said.source]
        rows += [("tls", said.tls)]
        if said.websocket is not None:
            rows.append(("websocket", said.websocket))
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def _address_text(said: AddressVerdict, source: Sequence[Address]) -> str:
    zone = "" if said.zone is None else f", in zone {said.zone}"
    version = said.address.version
    can = "may be dialled" if said.allow else "may not be dialled"
    if said.allow and source and version not in {one.version for one in source}:
        can = f"there is no IPv{version} source address"
    return f"{said.address}: {said.kind}{zone}; {can}"
