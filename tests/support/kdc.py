"""A real Kerberos realm for tests: MIT's KDC in a folder of its own, and clients of it.

    with start_realms(tmp_path) as realms:
        realms.kadmin("addprinc", "-pw", "secret", "alice")
        realms.kinit("alice", "secret")
        with realms.client("HTTP@proxy.corp.example") as client:
            token = client.token

Two realms, CORP.EXAMPLE and OTHER.EXAMPLE, the first trusting the second, served by one KDC
over TCP on loopback; nothing asks DNS.  `start_realms` returns when the KDC says it
listens.  With `at` it lives at another time, and its clients with it.
"""

from __future__ import annotations

import base64
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support.programs import free_port

__all__ = ["OTHER", "REALM", "Client", "Realms", "start_realms"]

REALM = "CORP.EXAMPLE"
OTHER = "OTHER.EXAMPLE"
_GUARD_S = 30
_PORTS_TRIED = 20
_LIBFAKETIME = "/usr/$LIB/faketime/libfaketime.so.1"  # ld.so puts the architecture in

_KRB5_CONF = """[libdefaults]
 default_realm = CORP.EXAMPLE
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 udp_preference_limit = 1
 spake_preauth_groups = edwards25519
{more}
[realms]
 CORP.EXAMPLE = {{
  kdc = 127.0.0.1:{port}
 }}
 OTHER.EXAMPLE = {{
  kdc = 127.0.0.1:{port}
 }}
[domain_realm]
 .corp.example = CORP.EXAMPLE
"""

_KDC_CONF = """[kdcdefaults]
 kdc_listen = ""
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 CORP.EXAMPLE = {{
  database_name = {folder}/corp
  key_stash_file = {folder}/corp.stash
 }}
 OTHER.EXAMPLE = {{
  database_name = {folder}/other
  key_stash_file = {folder}/other.stash
 }}
[logging]
 default = STDERR
 kdc = STDERR
"""

_CLIENT = """
import base64, sys
import gssapi
mech, target = gssapi.OID.from_int_seq(sys.argv[1]), sys.argv[2]
flags = [gssapi.RequirementFlag[sys.argv[3]]]
name = gssapi.Name(target, gssapi.NameType.hostbased_service)
context = gssapi.SecurityContext(name=name, mech=mech, flags=flags, usage="initiate")
def say(data): print(base64.b64encode(data or b"").decode(), context.complete, flush=True)
say(context.step())
for line in sys.stdin:
    verb, _, data = line.strip().partition(" ")
    data = base64.b64decode(data)
    say(context.step(data) if verb == "step" else context.get_signature(data))
"""

MECHANISMS = {"spnego": "1.3.6.1.5.5.2", "kerberos": "1.2.840.113554.1.2.2"}


class Client:
    """A GSSAPI client in a process of its own.

    Attributes:
        token: what it wants to send first.
        complete: whether it is done and, if it was asked to, knows the other side.
    """

    def __init__(self, argv: Sequence[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.complete = False
        self.token = self._hear()

    def step(self, answer: bytes) -> bytes:
        """What the client says to `answer`, maybe nothing.

        Raises:
            RuntimeError: the client does not believe it.
        """
        return self._ask("step", answer)

    def mic(self, data: bytes) -> bytes:
        """A MIC over `data` with the context's key."""
        return self._ask("mic", data)

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate(timeout=_GUARD_S)

    def _ask(self, verb: str, data: bytes) -> bytes:
        assert self._process.stdin
        print(verb, base64.b64encode(data).decode(), file=self._process.stdin, flush=True)
        return self._hear()

    def _hear(self) -> bytes:
        assert self._process.stdout
        words = self._process.stdout.readline().split(" ")
        if len(words) != 2:
            raise RuntimeError(self._process.communicate(timeout=_GUARD_S)[1])
        self.complete = words[1].strip() == "True"
        return base64.b64decode(words[0])


class Realms:
    """Both realms, their databases and one running KDC.

    Attributes:
        folder: where everything is.
        env: environment variables for clients and acceptors.
    """

    def __init__(self, folder: Path, *, at: str = "") -> None:
        self.folder = folder
        # What the program `faketime` sets; itself, it would stand between us and the child.
        self._clock = (
            {"LD_PRELOAD": _LIBFAKETIME, "FAKETIME": at, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
            if at
            else {}
        )
        self._path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        self._port = 0
        self.env: dict[str, str] = {}

    def kadmin(self, *query: str, realm: str = REALM) -> None:
        """Runs one query of ``kadmin.local`` (its manual page names them)."""
        self._run("kadmin.local", "-r", realm, *query)

    def keytab(self, name: str, *principals: str) -> Path:
        """A keytab with new keys for `principals`, which makes older ones out of date."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        self.kadmin("ktadd", "-k", str(path), *principals)
        return path

    def forged_keytab(self, name: str, principal: str, version: int) -> Path:
        """A keytab with a key of its maker's own invention for `principal`."""
        path = self.folder / name
        add = f"addent -password -p {principal} -k {version} -e aes256-cts-hmac-sha1-96"
        self._run("ktutil", text=f"{add}\ninvented\nwkt {path}\n")
        return path

    def kinit(self, user: str, password: str, *options: str) -> None:
        """Gets `user` a ticket of the realm's, in place of the last one's."""
        self._run("kinit", *options, user, text=f"{password}\n")

    @contextmanager
    def logged_in(self, user: str, password: str = "secret") -> Iterator[None]:
        """Has `user` logged in for the length of a block, in place of who was."""
        before = self.env
        self.env = {**before, "KRB5CCNAME": f"FILE:{self.folder}/tickets-of-{user}"}
        try:
            self.kinit(user, password)
            yield
        finally:
            self.env = before

    def client(
        self, target: str, *, mechanism: str = "spnego", flag: str = "mutual_authentication"
    ) -> closing[Client]:
        """A client with a ticket for `target`, ``service@host``, and a token ready."""
        program = [sys.executable, "-c", _CLIENT, MECHANISMS[mechanism], target, flag]
        return closing(Client(program, self._whole_env()))

    def configure(self, *, more: str = "", port: int = 0) -> None:
        """Writes the files of the KDC and its clients; `more` goes into ``[libdefaults]``."""
        port = self._port = port or self._port
        krb5_conf, kdc_conf = self.folder / "krb5.conf", self.folder / "kdc.conf"
        krb5_conf.write_text(_KRB5_CONF.format(port=port, more=more))
        kdc_conf.write_text(_KDC_CONF.format(port=port, folder=self.folder))
        self.env = {
            "KRB5_CONFIG": str(krb5_conf),
            "KRB5_KDC_PROFILE": str(kdc_conf),
            "KRB5CCNAME": f"FILE:{self.folder}/tickets",
            "KRB5RCACHEDIR": str(self.folder),
        }

    def create(self) -> None:
        """Makes both databases, and lets the users of the second realm into the first."""
        for realm in (REALM, OTHER):
            self._run("kdb5_util", "-r", realm, "create", "-s", "-P", "master")
            self.kadmin("addprinc", "-pw", "trust", f"krbtgt/{REALM}@{OTHER}", realm=realm)

    @contextmanager
    def serve(self) -> Iterator[bool]:
        """Runs the KDC; yields whether it listens, which it does not where the port is taken."""
        process = subprocess.Popen(
            ["krb5kdc", "-n", "-r", REALM, "-r", OTHER],
            env=self._whole_env(),
            stderr=subprocess.PIPE,
        )
        listens: queue.Queue[bool] = queue.Queue()

        def drain() -> None:
            assert process.stderr
            for line in process.stderr:
                if b"commencing operation" in line:
                    listens.put(True)
            listens.put(False)

        reader = threading.Thread(target=drain)
        reader.start()
        try:
            yield listens.get(timeout=_GUARD_S)
        finally:
            process.terminate()
            process.wait(_GUARD_S)
            reader.join(_GUARD_S)
            if process.stderr:
                process.stderr.close()

    def _whole_env(self) -> dict[str, str]:
        return {**os.environ, **self.env, **self._clock, "PATH": self._path}

    def _run(self, *command: str, text: str = "") -> None:
        done = subprocess.run(
            command,
            env=self._whole_env(),
            input=text.encode(),
            capture_output=True,
            check=False,
            timeout=_GUARD_S,
        )
        # kadmin.local and ktutil fail with status 0.
        if done.returncode or b" while " in done.stderr:
            raise RuntimeError(f"{command!r}: {done.stderr.decode(errors='replace')}")


@contextmanager
def start_realms(folder: Path, *, at: str = "") -> Iterator[Realms]:
    """Both realms, up and running.

    Args:
        folder: empty.
        at: when the KDC and its clients live, as faketime(1) takes it: ``-1d``.
    """
    realms = Realms(folder, at=at)
    realms.configure(port=free_port())
    realms.create()
    for _ in range(_PORTS_TRIED):
        with realms.serve() as listens:
            if listens:
                yield realms
                return
        realms.configure(port=free_port())
    raise RuntimeError("no port for the KDC")
