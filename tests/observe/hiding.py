"""A redactor with one word to hide."""

from __future__ import annotations

from dataclasses import dataclass

from wsproxy.observe.payloads import Redactor


@dataclass(frozen=True, slots=True)
class Hider:
    """Hides the word secret."""

    touches_text: bool = True

    def headers(self, headers: list[tuple[str, str]], /) -> list[tuple[str, str]]:
        return headers

    def url(self, url: str, /) -> str:
        return url

    def text(self, text: str, /) -> str:
        return text.replace("secret", "***") if self.touches_text else text

    def binary(self, data: bytes, /) -> bytes | None:
        hidden = data.replace(b"secret", b"***")
        return hidden if self.touches_text and hidden != data else None


_: Redactor = Hider()
