"""The proxy stops under WebSockets: both ends hear why, and know that they may come again."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from tests.support.proxy_process import OPEN_TO_LOOPBACK, start_proxy

from .wire import PATIENCE_S

SERVICE_RESTART = 1012


@pytest.mark.parametrize("drain", ["100ms", "1h"])
def test_both_ends_of_a_websocket_are_told_that_the_proxy_stops(tmp_path: Path, drain: str) -> None:
    heard: list[int | None] = []

    def listen(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosedError):
            for message in connection:
                connection.send(message)
        heard.append(connection.close_code)

    config = f"{OPEN_TO_LOOPBACK}\ntimeouts: {{drain: {drain}}}\n"
    with start_proxy(config, tmp_path) as proxy, serve(listen, "127.0.0.1", 0) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            port = server.socket.getsockname()[1]
            with connect(f"ws://127.0.0.1:{port}/", proxy=proxy.url) as connection:
                connection.send("hello")
                assert connection.recv(PATIENCE_S) == "hello"
                proxy.send_signal(signal.SIGTERM)
                if drain == "1h":
                    proxy.wait_stderr("stopping")
                    proxy.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosedError) as caught:
                    connection.recv(PATIENCE_S)
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (
                SERVICE_RESTART,
                "the proxy stops",
            )
            assert proxy.wait() == 0
        finally:
            server.shutdown()
            serving.join()
        (record,) = proxy.records(event="access")
    assert heard == [SERVICE_RESTART]
    assert (record["closed_by"], record["reason"]) == ("proxy", "drained")
    assert record["websocket"]["code"] == SERVICE_RESTART
