"""A timestamp authority on this machine: `openssl ts` behind a small HTTP server."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

__all__ = ["Authority", "serving"]

_CONFIG = """
[ req ]
distinguished_name = dn
prompt = no
[ dn ]
CN = {name}
[ ca ]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[ tsa ]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[ tsa_section ]
serial = {folder}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1, millisecs:500
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class Authority:
    """A root and a signer of timestamps, in a folder of their own."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        folder.mkdir()
        self.folder, self.config = folder, folder / "openssl.cnf"
        self.config.write_text(_CONFIG.format(name=name, folder=folder))
        (folder / "serial").write_text("01\n")
        for who in ("root", "signer"):
            self._run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{who}.key")
        request = ("-new", "-config", "openssl.cnf")
        self._run("req", "-x509", *request, "-key", "root.key", "-extensions", "ca", "-days", "30", "-out", "root.pem")
        self._run("req", *request, "-key", "signer.key", "-subj", "/CN=signer", "-out", "signer.csr")
        issue = (
            "-CA",
            "root.pem",
            "-CAkey",
            "root.key",
            "-CAcreateserial",
            "-extfile",
            "openssl.cnf",
            "-extensions",
            "tsa",
        )
        self._run("x509", "-req", "-in", "signer.csr", *issue, "-days", "29", "-out", "signer.pem")

    @property
    def root(self) -> Path:
        """The root's certificate."""
        return self.folder / "root.pem"

    def answer(self, question: bytes) -> bytes:
        """The answer to a request, as `openssl ts` gives it."""
        (self.folder / "question.tsq").write_bytes(question)
        signing = ("-signer", "signer.pem", "-inkey", "signer.key")
        reply = ("-config", "openssl.cnf", "-section", "tsa_section", "-queryfile", "question.tsq")
        self._run("ts", "-reply", *reply, *signing, "-out", "answer.tsr")
        return (self.folder / "answer.tsr").read_bytes()

    def _run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=60)


@contextmanager
def serving(answer, status: int = 200, location: str = "") -> Iterator[str]:
    """The address of a server that answers each POST with what a function makes of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()
