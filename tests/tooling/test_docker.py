"""The container's files say what docs and orchestrators rely on; `make image-test` runs the image itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from wsproxy.config.load import load

PROJECT = Path(__file__).parents[2]
PACKAGED = PROJECT / "docker/wsproxy.yaml"


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile with its argument on one line, comments left out."""
    text = (PROJECT / "docker/Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line]


def final_stage() -> dict[str, list[str]]:
    """Instruction → arguments of the stage that becomes the image."""
    steps = instructions()
    start = max(index for index, (name, _) in enumerate(steps) if name == "FROM")
    stage: dict[str, list[str]] = {}
    for name, argument in steps[start:]:
        stage.setdefault(name, []).append(argument)
    return stage


def test_the_base_can_be_replaced_from_outside() -> None:
    steps = instructions()
    assert steps[0] == ("ARG", "PYTHON_IMAGE=python:3.13-slim-bookworm")
    assert [argument for name, argument in steps if name == "FROM"] == [
        "${PYTHON_IMAGE} AS build",
        "${PYTHON_IMAGE}",
    ]


@pytest.mark.parametrize(
    ("instruction", "argument"),
    [
        ("USER", "65532:65532"),
        ("STOPSIGNAL", "SIGTERM"),
        ("EXPOSE", "8080"),
        ("ENTRYPOINT", '["wsproxy"]'),
        ("CMD", '["run", "--config", "/etc/wsproxy/wsproxy.yaml"]'),
        ("VOLUME", '["/var/lib/wsproxy"]'),
    ],
)
def test_the_image_is_what_the_interface_promises(instruction: str, argument: str) -> None:
    assert final_stage()[instruction] == [argument]


def test_the_health_check_is_the_products_own_command() -> None:
    (check,) = final_stage()["HEALTHCHECK"]
    command = check[check.index("CMD ") + len("CMD ") :]
    assert json.loads(command) == ["wsproxy", "health", "--config", "/etc/wsproxy/wsproxy.yaml"]


def test_nothing_is_installed_without_its_hash_and_nothing_in_the_final_stage() -> None:
    runs = " ".join(argument for name, argument in instructions() if name == "RUN")
    fetching = [
        part for part in runs.split("&&") if " install " in part and "--no-index" not in part
    ]
    assert len(fetching) == 2
    assert all("--require-hashes" in part for part in fetching)
    assert not re.search(r"\b(install|apt-get|curl)\b", " ".join(final_stage()["RUN"]))


def test_what_the_dockerfile_copies_is_let_into_the_build() -> None:
    ignored = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:].rstrip("/") for line in ignored if line.startswith("!")}
    copies = [
        argument for name, argument in instructions() if name == "COPY" and "--from" not in argument
    ]
    copied = {source.rstrip("/") for argument in copies for source in argument.split()[:-1]}
    assert ignored[1] == "*"
    assert copied == let_in


def test_the_packaged_proxy_serves_private_clients_and_nobody_else() -> None:
    settings = load(PACKAGED, environment={}).settings
    (rule,) = settings.policy.rules
    assert str(settings.listeners[0].address) == "0.0.0.0:8080"
    assert (settings.policy.default, rule.action) == ("deny", "allow")
    assert settings.policy.private_networks == ()
    clients = yaml.safe_load(PACKAGED.read_text(encoding="utf-8"))["policy"]["rules"][0]["when"]
    private = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1", "fc00::/7"]
    assert clients == {"clients": private}


def test_the_packaged_proxy_stops_before_docker_kills_it() -> None:
    assert load(PACKAGED, environment={}).settings.timeouts.drain < 10


def test_compose_runs_the_service_with_nothing_it_does_not_need() -> None:
    text = (PROJECT / "docker/compose.yaml").read_text(encoding="utf-8")
    service = yaml.safe_load(text)["services"]["wsproxy"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["secrets"] == ["users"]
    assert service["healthcheck"]["test"][1:3] == ["wsproxy", "health"]
    assert [port.split(":-", 1)[1] for port in service["ports"]] == ["127.0.0.1:8080}:8080"]
    assert "privileged" not in service
