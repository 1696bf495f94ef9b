"""How to make a client trust the CA of interception: for the help page."""

from __future__ import annotations

import html
from typing import Final

__all__ = ["CA_PATH", "trust_section"]

CA_PATH: Final = b"/wsproxy-ca.pem"

_STEPS: Final = {
    "Windows": "certutil -addstore -f Root wsproxy-ca.pem",
    "macOS": "sudo security add-trusted-cert -d -r trustRoot "
    "-k /Library/Keychains/System.keychain wsproxy-ca.pem",
    "Debian, Ubuntu": "sudo cp wsproxy-ca.pem /usr/local/share/ca-certificates/wsproxy-ca.crt "
    "&& sudo update-ca-certificates",
    "Fedora, RHEL": "sudo cp wsproxy-ca.pem /etc/pki/ca-trust/source/anchors/ "
    "&& sudo update-ca-trust",
    "Chrome on Linux": 'certutil -d sql:"$HOME/.pki/nssdb" -A -t C,, -n wsproxy -i wsproxy-ca.pem',
    "Firefox": "Settings, Privacy & Security, View Certificates, Authorities, Import; "
    "or the policy Certificates.ImportEnterpriseRoots",
    "Java": "keytool -importcert -cacerts -storepass changeit -noprompt "
    "-alias wsproxy -file wsproxy-ca.pem",
    "Node.js": "export NODE_EXTRA_CA_CERTS=$PWD/wsproxy-ca.pem",
    "Python": "export SSL_CERT_FILE=$PWD/wsproxy-ca.pem REQUESTS_CA_BUNDLE=$PWD/wsproxy-ca.pem",
    ".NET": "as the system does: Windows and macOS see above; on Linux "
    "export SSL_CERT_FILE=$PWD/wsproxy-ca.pem",
    "curl": "curl --cacert wsproxy-ca.pem …",
}


def trust_section(url: str) -> str:
    """HTML: what to install where.

    Args:
        url: of this proxy, as the client knows it; already escaped.
    """
    link = url + CA_PATH.decode()
    rows = "".join(
        f"<dt>{html.escape(where)}<dd><code>{html.escape(step)}</code>"
        for where, step in _STEPS.items()
    )
    return (
        "<h2>TLS is looked into</h2><p>This proxy reads some TLS connections, with certificates "
        f'of its own. Clients have to trust <a href="{CA_PATH.decode()}">its CA</a>; '
        "compare its fingerprint with what your administrator tells you.</p>"
        f"<pre><code>curl -O {link}</code></pre><dl>{rows}</dl>"
    )
