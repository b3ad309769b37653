"""A port that speaks TLS, with a certificate that nobody has signed, and then hangs up."""

import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Self


def certificate(folder: Path, *names: str) -> tuple[Path, Path]:
    """A key and a certificate for these names, signed by itself: the files."""
    key, signed = folder / "key.pem", folder / "certificate.pem"
    alternatives = ",".join(f"IP:{name}" if name[0].isdigit() else f"DNS:{name}" for name in names)
    subject = ["-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={alternatives}"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*made, "-keyout", str(key), "-out", str(signed)], check=True, capture_output=True)
    return key, signed


class TlsPort:
    """A context manager; `address` is host:port."""

    def __init__(self, folder: Path) -> None:
        key, signed = certificate(folder, "other.example")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(signed, key)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:  # closed
                return
            client.settimeout(2)
            try:
                with self.context.wrap_socket(client, server_side=True) as talk:
                    talk.recv(1_000)
            except OSError:
                client.close()

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join(5)
