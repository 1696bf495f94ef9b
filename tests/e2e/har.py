"""Two opinions on a HAR file: the schema of HAR 1.2, and the importer of Chromium's DevTools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import (  # type: ignore[import-untyped]  # its types are a package of their own
    Draft6Validator,
    FormatChecker,
)
from referencing import Registry
from referencing.jsonschema import DRAFT6

from .chromium import Page
from .clients import NODE

_SCHEMA = NODE / "node_modules" / "har-schema" / "lib"

_FRONTEND = "devtools://devtools/bundled/"

# What the network panel shows of each request; a message it cannot use is left out.
_IMPORT = """
(async (har) => {
  const { HARFormat, Importer } = await import('%smodels/har/har.js');
  const log = new HARFormat.HARRoot(har).log;
  return Importer.Importer.requestsFromHARLog(log).map((request) => ({
    url: request.url(),
    type: request.resourceType().name(),
    method: request.requestMethod,
    status: request.statusCode,
    began: request.startTime,
    ended: request.endTime,
    request: request.requestHeaders().map((field) => [field.name, field.value]),
    response: request.responseHeaders.map((field) => [field.name, field.value]),
    messages: request.frames(),
  }));
})(%s)
"""


def _validator() -> Draft6Validator:
    schemas = {file.name: json.loads(file.read_text()) for file in _SCHEMA.glob("*.json")}
    registry: Registry[Any] = Registry().with_resources(
        (f"{name}#", DRAFT6.create_resource(schema)) for name, schema in schemas.items()
    )
    return Draft6Validator(schemas["har.json"], registry=registry, format_checker=FormatChecker())


def har_errors(har: object) -> list[str]:
    """What in `har` does not follow HAR 1.2: a path and what is wrong there."""
    return [f"{error.json_path}: {error.message}" for error in _validator().iter_errors(har)]


def read_har(file: Path) -> dict[str, Any]:
    """A HAR file.

    Raises:
        AssertionError: it does not follow HAR 1.2.
    """
    har: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert har_errors(har) == []
    return har


def import_har(page: Page, har: dict[str, Any]) -> list[dict[str, Any]]:
    """What the network panel of this Chromium makes of `har`; its own code reads it."""
    assert page.visit(f"{_FRONTEND}devtools_app.html") == ""
    imported: list[dict[str, Any]] = page.evaluate(_IMPORT % (_FRONTEND, json.dumps(har)))
    return imported
