"""MQTT, Socket.IO and JSON-RPC through the proxy, and what can be read in its capture."""

from __future__ import annotations

import json
import queue
from pathlib import Path
from typing import Any

import pytest
import socks  # type: ignore[import-untyped]  # PySocks has no types
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from websockets.sync.client import connect

from .clients import run_node
from .inspected import InspectingProxy
from .servers import run_json_rpc, run_mosquitto, run_socket_io
from .wire import PATIENCE_S


def exchange_by_mqtt(port: int, inspecting: InspectingProxy, topic: str, value: bytes) -> bytes:
    """Publishes to oneself: the value that the broker hands back."""
    seen: queue.SimpleQueue[bytes | bytearray] = queue.SimpleQueue()
    subscribed: queue.SimpleQueue[int] = queue.SimpleQueue()
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id="thermometer",
        transport="websockets",
        protocol=MQTTProtocolVersion.MQTTv5,
    )
    client.proxy_set(proxy_type=socks.HTTP, proxy_addr="127.0.0.1", proxy_port=inspecting.port)
    client.on_subscribe = lambda _, __, mid, *___: subscribed.put(mid)
    client.on_message = lambda _, __, message: seen.put(message.payload)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        client.subscribe(topic, qos=1)
        subscribed.get(timeout=PATIENCE_S)
        client.publish(topic, value, qos=1).wait_for_publish(PATIENCE_S)
        return bytes(seen.get(timeout=PATIENCE_S))
    finally:
        client.disconnect()
        client.loop_stop()


def test_mqtt_of_mosquitto(tmp_path: Path, inspecting: InspectingProxy) -> None:
    with run_mosquitto(tmp_path) as port:
        assert exchange_by_mqtt(port, inspecting, "kitchen/celsius", b"21.5") == b"21.5"
    said = inspecting.conversation()
    assert said.opening["url"] == f"ws://127.0.0.1:{port}/mqtt"
    assert said.opening["subprotocol"] == "mqtt"
    up = b"".join(said.said_by("client", "binary"))
    # Packet types stand in the first four bits: CONNECT, SUBSCRIBE, PUBLISH with QoS 1.
    assert up.startswith(b"\x10")
    assert b"\x00\x04MQTT\x05" in up
    assert b"\x00\x0bthermometer" in up
    assert b"\x00\x0fkitchen/celsius" in up
    assert up.count(b"21.5") == 1
    down = b"".join(said.said_by("upstream", "binary"))
    assert down.startswith(b"\x20")  # CONNACK
    assert down.count(b"21.5") == 1
    assert said.closing["label"] == "mqtt"


@pytest.mark.usefixtures("node_packages")
@pytest.mark.parametrize("agent", ["tunnel", "absolute"])
def test_socket_io(agent: str, tmp_path: Path, inspecting: InspectingProxy) -> None:
    with run_socket_io() as port:
        url = f"http://127.0.0.1:{port}"
        told = run_node(tmp_path, "socketio-client.js", url=url, proxy=inspecting.url, agent=agent)
    assert told == {
        "news": {"headline": "schönes Wetter"},
        "greeting": "hello alice",
        "blob": [250, 3, 2, 1],
        "reason": "io client disconnect",
    }
    said = inspecting.conversation()
    assert said.opening["url"].startswith(f"ws://127.0.0.1:{port}/socket.io/?EIO=")
    up = said.said_by("client", "text")
    # Engine.IO's message is 4; of Socket.IO 0 connects, 2 is an event, 5 one with attachments.
    assert up[0] == b"40"
    assert b'420["greet","alice"]' in up
    assert b'451-["blob",{"_placeholder":true,"num":0}]' in up
    assert said.said_by("client", "binary") == [bytes([1, 2, 3, 250])]
    down = said.said_by("upstream", "text")
    assert json.loads(down[0].removeprefix(b"0"))["upgrades"] == []
    assert '42["news",{"headline":"schönes Wetter"}]'.encode() in down
    assert b'430["hello alice"]' in down
    assert said.said_by("upstream", "binary") == [bytes([250, 3, 2, 1])]
    assert said.closing["label"] == "socket.io"


def call(connection: Any, number: int, method: str, **parameters: Any) -> dict[str, Any]:
    """The answer of a JSON-RPC server."""
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
    connection.send(json.dumps(request))
    answer: dict[str, Any] = json.loads(connection.recv(PATIENCE_S))
    assert answer["id"] == number
    return answer


@pytest.mark.parametrize("compression", ["deflate", None])
def test_json_rpc(compression: str | None, inspecting: InspectingProxy) -> None:
    with run_json_rpc() as port:
        url = f"ws://127.0.0.1:{port}/rpc"
        with connect(url, proxy=inspecting.url, compression=compression) as connection:
            answers = [
                call(connection, 1, "add", a=40, b=2),
                call(connection, 2, "greet", name="Jörg"),
                call(connection, 3, "divide", a=1, b=0),
            ]
            assert connection.ping().wait(PATIENCE_S)
    assert [answer.get("result") for answer in answers] == [42, "Grüß Gott, Jörg", None]
    assert answers[2]["error"]["code"] == -32601  # no such method
    said = inspecting.conversation()
    requests = [json.loads(text) for text in said.said_by("client", "text")]
    assert [(one["id"], one["method"]) for one in requests] == [
        (1, "add"),
        (2, "greet"),
        (3, "divide"),
    ]
    assert [json.loads(text) for text in said.said_by("upstream", "text")] == answers
    texts = [record for record in said.messages if record["opcode"] == "text"]
    assert [record["direction"] for record in texts] == ["client", "upstream"] * 3
    assert {record.get("compressed", False) for record in texts} == {compression is not None}
    assert all(record["answer_ms"] >= 0 for record in texts if record["direction"] == "upstream")
    assert said.said_by("client", "ping") == said.said_by("upstream", "pong")
    assert said.closing["label"] == "json-rpc"
    assert (said.closing["code"], said.closing["clean"]) == (1000, True)
    assert (said.closing["messages_up"], said.closing["messages_down"]) == (3, 3)
