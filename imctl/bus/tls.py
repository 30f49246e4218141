"""TLS of a bus from its URL's parameters; names as in Redis URLs, the same for every bus."""

from __future__ import annotations

import ssl

from imctl.bus.url import BusUrl
from imctl.errors import ConfigError

__all__ = ["tls_context"]


def tls_context(url: BusUrl) -> ssl.SSLContext:
    """Return what ssl_ca_certs, ssl_certfile, ssl_keyfile and ssl_cert_reqs (required, none) ask for.

    Raises:
        ConfigError: a file cannot be used.
    """
    ca, certificate, key = url.text("ssl_ca_certs"), url.text("ssl_certfile"), url.text("ssl_keyfile")
    checked = url.choice("ssl_cert_reqs", ("required", "none")) == "required"
    try:
        context = ssl.create_default_context(cafile=ca or None)
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"{url.what} {url.shown}: TLS files: {exc}") from exc
    if not checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
