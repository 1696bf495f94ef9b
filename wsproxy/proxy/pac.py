"""``/proxy.pac``: how browsers find out which requests to send here (Netscape's proxy auto-config).

Everything goes through the proxy but what cannot: names without a dot, and what a rule or a
zone says is inside is still the proxy's to decide.  The file is for WPAD as well, under
``/wpad.dat``.
"""

from __future__ import annotations

import json
from typing import Final

__all__ = ["PAC_PATHS", "pac_file"]

PAC_PATHS: Final = frozenset({b"/proxy.pac", b"/wpad.dat"})

_FILE: Final = """\
// Made by wsproxy. Browsers ask FindProxyForURL for every request; ws: and wss: too.
function FindProxyForURL(url, host) {
  if (isPlainHostName(host) || host === "localhost" || shExpMatch(host, "127.*") || host === "::1") {
    return "DIRECT";
  }
  return %s;
}
"""


def pac_file(address: str, *, scheme: str = "http") -> bytes:
    """The script.

    Args:
        address: ``host:port`` of this proxy as the client knows it.
        scheme: of its URL: ``http``, or ``https`` where there is TLS to the proxy.
    """
    kind = "HTTPS" if scheme == "https" else "PROXY"
    return (_FILE % json.dumps(f"{kind} {address}")).encode("ascii", "replace")
