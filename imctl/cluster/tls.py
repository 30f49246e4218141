"""A certificate of our own for `imctl up --tls`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from imctl.errors import StartError

__all__ = ["self_signed"]

_DAYS = 825
"""What browsers and macOS accept at most."""


def self_signed(folder: Path, host: str) -> tuple[Path, Path]:
    """Return certificate and key for localhost and `host`, made now unless they are there.

    Raises:
        StartError: there is no `openssl` to make them with.
    """
    cert, key = folder / "cert.pem", folder / "key.pem"
    if cert.exists() and key.exists():
        return cert, key
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = f"subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1,{'IP' if host[:1].isdigit() else 'DNS'}:{host}"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", str(_DAYS), "-subj", "/CN=localhost", "-addext", names]
    try:
        subprocess.run(
            [*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True, timeout=30.0
        )
    except (OSError, subprocess.SubprocessError) as exc:
        detail = getattr(exc, "stderr", b"") or str(exc).encode()
        raise StartError(
            f"openssl could not make a certificate: {detail.decode(errors='replace').strip()}",
            hint="give your own in imctl.toml: [comet] tls_cert = ..., tls_key = ...",
        ) from exc
    key.chmod(0o600)
    return cert, key
