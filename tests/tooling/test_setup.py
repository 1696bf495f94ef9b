"""Setting up says what is wrong and what to do about it, and changes nothing then."""

from __future__ import annotations

import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    old = program(tmp_path / "python3.9", "exit 1")
    done = run("scripts/setup-venv", str(tmp_path / "venv"), PYTHON=str(old))
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"setup: {old} is no Python 3.11 or newer; name one that is: make "
    )
    assert not (tmp_path / "venv").exists()


def test_without_any_python_the_way_out_is_told(tmp_path: Path) -> None:
    program(tmp_path / "env", 'exec /bin/bash "$2" "$3"')
    (tmp_path / "bash").symlink_to("/bin/bash")
    done = run("/bin/bash", "scripts/setup-venv", str(tmp_path / "venv"), PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(
        "setup: no Python 3.11 or newer found. Install one (Debian: apt-get "
    )


def test_a_user_without_root_is_told_what_to_install(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "sed", "grep", "head", "sort", "env"):
        (tmp_path / tool).symlink_to(Path("/usr/bin") / tool)
    program(tmp_path / "id", "echo 1000")
    servers = ("nginx", "mosquitto", "haproxy", "slapd", "nsd", "squid", "apache2")
    for present in (*servers, "curl", "htpasswd", "openssl", "npm", "gcc", "kinit"):
        program(tmp_path / present, "exit 0")
    program(tmp_path / "java", "echo 'openjdk version \"11.0.2\"' >&2")
    program(tmp_path / "javac", "echo 'openjdk version \"21.0.2\"' >&2")
    program(tmp_path / "node", "echo v99.1.0")
    script = (PROJECT / "scripts/setup-system").read_text(encoding="utf-8")
    bare = tmp_path / "tests/e2e/node"
    bare.mkdir(parents=True)
    (bare / "package.json").write_text('{"engines": {"node": ">=18"}}')
    (tmp_path / "scripts").mkdir()
    alone = program(
        tmp_path / "scripts/setup-system", script.replace("PATH=$PATH:/usr/sbin:/sbin", "")
    )
    done = run(str(tmp_path / "bash"), str(alone), "test", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "setup: missing: chromium",
        "setup: missing: certutil",
        "setup: missing: java >= 17",
        "setup: missing: krb5kdc",
        "setup: missing: kadmin.local",
        "setup: missing: faketime",
        "setup: missing: krb5-config",
        "setup: on Debian or Ubuntu: sudo apt-get install --no-install-recommends "
        "chromium default-jdk-headless faketime krb5-admin-server krb5-kdc libkrb5-dev "
        "libnss3-tools",
    ]


def test_a_step_is_quiet_unless_it_fails() -> None:
    fine = run("scripts/quiet", "/bin/sh", "-c", "echo much; exit 0")
    assert (fine.returncode, fine.stdout, fine.stderr) == (0, "", "")
    bad = run("scripts/quiet", "/bin/sh", "-c", "echo reason; echo more >&2; exit 3")
    assert (bad.returncode, bad.stdout, bad.stderr) == (3, "", "reason\nmore\n")
