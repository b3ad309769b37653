"""A certificate authority of our own, as streams have that aren't signed by one that the whole world knows."""

import subprocess
from pathlib import Path


class Authority:
    """`ca` is the file to trust. Files lie in `folder`."""

    def __init__(self, folder: Path, name: str = "Test authority") -> None:
        self.folder = folder
        self.ca, self._key = folder / "ca.pem", folder / "ca-key.pem"
        usage = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", *usage]
        openssl(*made, "-keyout", str(self._key), "-out", str(self.ca))

    def sign(self, name: str) -> Path:
        """One file with a key and a certificate for a host name or an address, and the CA's behind it."""
        stem = name.replace(".", "-")
        key, request, signed, extensions = (
            self.folder / f"{stem}.{end}" for end in ("key", "csr", "crt", "extensions")
        )
        extensions.write_text(f"subjectAltName={'IP' if name[0].isdigit() else 'DNS'}:{name}\n")
        subject = ["-subj", f"/CN={name}"]
        openssl("req", "-newkey", "rsa:2048", "-nodes", *subject, "-keyout", str(key), "-out", str(request))
        issuer = ["-CA", str(self.ca), "-CAkey", str(self._key), "-CAcreateserial", "-days", "2"]
        openssl("x509", "-req", "-in", str(request), *issuer, "-extfile", str(extensions), "-out", str(signed))
        both = self.folder / f"{stem}.pem"
        both.write_text(key.read_text() + signed.read_text() + self.ca.read_text())
        return both


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    """What the program says."""
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, input=given).stdout
