"""Secrets do not show."""

from wsproxy.config.secret import Secret


def test_a_secret_never_shows_but_is_there() -> None:
    secret = Secret("hunter2")
    assert (repr(secret), str(secret), f"{secret}", f"{[secret]}") == (
        "<redacted>",
        "<redacted>",
        "<redacted>",
        "[<redacted>]",
    )
    assert secret.text == "hunter2"
