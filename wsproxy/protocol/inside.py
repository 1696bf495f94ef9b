"""Requests inside a tunnel that was opened: as if they had come to the proxy in absolute-form."""

from __future__ import annotations

from dataclasses import replace

from wsproxy.errors import ClientProtocolError, Denied
from wsproxy.model import Body, BodyKind, ProxyRequest, RequestKind, Target
from wsproxy.protocol.authority import parse_host_field
from wsproxy.protocol.handshake import asks_for_websocket, check_handshake

__all__ = ["check_host_inside", "interpret_inside"]


def interpret_inside(request: ProxyRequest, tunnel: Target) -> ProxyRequest:
    """What is asked of the origin at the end of an intercepted tunnel.

    Args:
        request: as read; its target is in origin-form, or the asterisk of OPTIONS.
        tunnel: target of the CONNECT; it decides where the request goes.

    Raises:
        ClientProtocolError: another form of target, or an incomplete handshake.
    """
    if request.kind is not RequestKind.OWN:
        raise ClientProtocolError("inside a tunnel the target is in origin-form", row="T8")
    target = Target("https", tunnel.host, tunnel.port, request.target.path)
    request = replace(request, kind=RequestKind.FORWARD, target=target)
    if request.version == "1.1" and asks_for_websocket(request.headers):
        check_handshake(request)
        return replace(
            request,
            kind=RequestKind.UPGRADE,
            target=replace(target, scheme="wss"),
            body=Body(BodyKind.NONE),
        )
    return request


def check_host_inside(request: ProxyRequest, tunnel: Target) -> None:
    """Passes a request whose Host is the tunnel's.

    Raises:
        Denied: it names another origin (domain fronting).
    """
    named = parse_host_field(request.field(b"host") or b"")
    if named is None:
        return  # HTTP/1.0
    # The port is the tunnel's, whatever is said here: clients leave it out, or came through
    # something that has another one.
    if named[0] != tunnel.host:
        detail = "Host names another origin than the tunnel leads to"
        raise Denied(detail, rule="host-mismatch", row="T26")
