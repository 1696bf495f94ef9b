"""Where records go: opened once, for as long as the process lives; a part of the composition root."""

from __future__ import annotations

from pathlib import Path

import trio

from wsproxy.app import Log, discard, wall_clock
from wsproxy.app_inspection import NOTHING_CAPTURED, Captured, redaction_key
from wsproxy.config.load import Config
from wsproxy.config.problems import KeyPath
from wsproxy.observe.capture import CaptureFiles, dropped_line
from wsproxy.observe.exchange import Exchange
from wsproxy.observe.records import FORMATS
from wsproxy.observe.sinks import LineSink, open_destination

__all__ = ["Outputs"]

_CAPTURE_WAITING_BYTES = 16 * 1024 * 1024
"""A quarter of a second of small messages as fast as they can be recorded."""

_FIXED: tuple[KeyPath, ...] = (
    ("logs", "access", "to"),
    ("inspection", "capture", "directory"),
    ("inspection", "capture", "rotate"),
    ("inspection", "capture", "keep"),
)


class Outputs:
    """The access log and the capture files.

    Args:
        config: says which; none of `_FIXED` can change later.

    Attributes:
        sinks: what writes, to be run.
        captured: what becomes of records of WebSockets.

    Raises:
        ConfigError: the capture files cannot be opened; with the position of the setting.
    """

    def __init__(self, config: Config) -> None:
        self._first = config
        self._access: LineSink
        capture = _open_capture(config)
        self.sinks = [] if capture is None else [capture]
        self.captured = self._captured(config, capture)

    def open_access(self) -> None:
        """Opens the access log, before the first record.

        Raises:
            ConfigError: it cannot be opened; with the position of the setting.
        """
        config = self._first
        try:
            self._access = LineSink(open_destination(config.settings.logs.access.to))
        except OSError as error:
            path: KeyPath = ("logs", "access", "to")
            raise config.error(path, f"cannot be opened: {error.strerror}") from error
        self.sinks.append(self._access)

    def check_unchanged(self, config: Config) -> None:
        """Raises a `ConfigError` when `config` wants records to go elsewhere."""
        for path in _FIXED:
            if _at(config, path) != _at(self._first, path):
                raise config.error(path, "a reload cannot change this; restart the proxy")

    def log_access(self, config: Config) -> Log:
        """What writes access records in the format of `config`."""
        access = config.settings.logs.access
        if access.to == "none":
            return discard
        format_line = FORMATS[access.format]

        def log_access(event: str, exchange: Exchange) -> None:
            now = trio.current_time()
            self._access.put_nowait(format_line(event, exchange, wall_clock(), now))

        return log_access

    def _captured(self, config: Config, capture: LineSink | None) -> Captured:
        if capture is not None:
            key = redaction_key(_capture_directory(config))
            return Captured(capture.put_nowait, key, capture.keep_nowait)
        if config.document is None and config.settings.logs.access.to != "none":
            # Who tries it out without a file sees messages go by.
            return Captured(lambda line: self._access.put_nowait(line))  # noqa: PLW0108 - opened later
        return NOTHING_CAPTURED


def _at(config: Config, path: KeyPath) -> object:
    value: object = config.settings
    for name in path:
        value = getattr(value, str(name))
    return value


def _capture_directory(config: Config) -> Path:
    directory = config.settings.inspection.capture.directory
    assert directory is not None
    return directory


def _open_capture(config: Config) -> LineSink | None:
    settings = config.settings.inspection.capture
    if settings.directory is None:
        return None
    try:
        files = CaptureFiles(
            settings.directory,
            rotate_bytes=settings.rotate,
            keep_s=settings.keep,
            clock=wall_clock,
        )
    except OSError as error:
        path: KeyPath = ("inspection", "capture", "directory")
        raise config.error(path, f"cannot be used: {error.strerror}") from error
    return LineSink(
        files,
        name="capture",
        max_waiting_bytes=_CAPTURE_WAITING_BYTES,
        told=lambda count: dropped_line(count, wall_clock()),
    )
