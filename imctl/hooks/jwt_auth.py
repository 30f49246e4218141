"""Hook `jwt`: a signed JSON Web Token says who a client is.

    imctl up --hooks 'jwt?secret_env=JWT_SECRET'
    imctl up --hooks 'jwt?jwks_file=jwks.json&audience=chat&rooms_claim=rooms'

The body of op 7 is the token itself, or goim's JSON with a member `token`
beside what the client asks for: `{"token": "eyJ...", "room_id": "live://1",
"accepts": [1000], "key": "phone"}`. With `cookie=NAME` a WebSocket client may
bring it in a cookie instead. The mid always comes from the token.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from imctl.errors import ConfigError
from imctl.hooks.contract import ConnectEvent, Identity, Refusal
from imctl.hooks.room_list import dump_grant
from imctl.hooks.watched_file import WatchedFile
from protocol.bodies import AuthToken, parse_token
from protocol.errors import BodyError

try:
    import jwt
except ImportError as exc:
    raise ConfigError("hook jwt: PyJWT is not installed", hint="pip install 'imctl[jwt]'") from exc

__all__ = ["JwtAuthenticator"]

_MAX_TOKEN_BYTES = 16_384
_MID_MAX = 2**63 - 1
_MID_DIGITS = len(str(_MID_MAX))

# From PyJWT's errors, the most special first, to the reasons that are counted.
_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not_yet_valid"),
    (jwt.InvalidIssuedAtError, "not_yet_valid"),
    (jwt.InvalidAudienceError, "bad_audience"),
    (jwt.InvalidIssuerError, "bad_issuer"),
    (jwt.InvalidAlgorithmError, "bad_algorithm"),
    (jwt.MissingRequiredClaimError, "missing_claim"),
    (jwt.InvalidSignatureError, "bad_signature"),
    (jwt.InvalidKeyError, "bad_signature"),
)

_Claims = Mapping[str, Any]  # Any: JSON
_Keys = Mapping[str, Any]  # by key id, "" for the only one. Any: what PyJWT takes as a key


class JwtAuthenticator:
    """Verifies tokens; exactly one of the four keys is needed.

    Args:
        secret_env: Environment variable with the secret of HS256.
        secret_file: File with it; the white space around it does not count.
        public_key_file: PEM file with a public key, for RS256 and the like.
        jwks_file: JSON Web Key Set with public keys, chosen by the token's `kid`; read again when it changes.
        algorithms: Accepted ones; HS256 for a secret and RS256 for public keys by default. `none` never is.
        audience: Required `aud`, empty for no check. A token for somebody else is refused also then.
        issuer: Required `iss`, empty for no check.
        leeway_s: By how much clocks may differ.
        mid_claim: Claim with the user id, a number or its decimal text.
        key_claim: Claim with the session key, empty lets the client ask for one.
        rooms_claim: Claim with room patterns for `rooms?grant=true`, empty for none.
        require_exp: Refuse a token that never expires.
        cookie: Cookie that may bring the token, empty for none.

    Raises:
        ConfigError: no key or several, a key that cannot be read, a bad algorithm.
    """

    def __init__(
        self,
        *,
        secret_env: str = "",
        secret_file: Path | None = None,
        public_key_file: Path | None = None,
        jwks_file: Path | None = None,
        algorithms: tuple[str, ...] = (),
        audience: str = "",
        issuer: str = "",
        leeway_s: float = 0.0,
        mid_claim: str = "sub",
        key_claim: str = "",
        rooms_claim: str = "",
        require_exp: bool = True,
        cookie: str = "",
    ) -> None:
        if leeway_s < 0:
            raise ConfigError(f"hook jwt: leeway_s is {leeway_s:g}; expected 0 or more")
        given = [bool(secret_env), secret_file is not None, public_key_file is not None, jwks_file is not None]
        if sum(given) != 1:
            expected = "secret_env, secret_file, public_key_file, jwks_file"
            raise ConfigError(f"hook jwt: {sum(given)} keys given; expected one of {expected}")
        self._jwks: WatchedFile[_Keys] | None = None
        self._keys: _Keys = {}
        is_secret = bool(secret_env) or secret_file is not None
        self._algorithms = list(algorithms) or (["HS256"] if is_secret else ["RS256"])
        _check_algorithms(self._algorithms, is_secret=is_secret)
        if secret_env:
            secret = os.environ.get(secret_env, "").encode()
            self._keys = {"": _secret(secret, f"variable {secret_env}", self._algorithms)}
        elif secret_file is not None:
            self._keys = {"": _secret(_read(secret_file), str(secret_file), self._algorithms)}
        elif public_key_file is not None:
            self._keys = {"": _public_key(public_key_file)}
        elif jwks_file is not None:
            self._jwks = WatchedFile(jwks_file, _parse_jwks)
        self._audience = audience
        self._issuer = issuer
        self._leeway_s = leeway_s
        self._mid_claim = mid_claim
        self._key_claim = key_claim
        self._rooms_claim = rooms_claim
        self._require = ["exp", mid_claim] if require_exp else [mid_claim]
        self._cookie = cookie

    async def authenticate(self, event: ConnectEvent) -> Identity | Refusal:
        """See Authenticator.authenticate."""
        if len(event.token) > _MAX_TOKEN_BYTES:
            return Refusal("too_large", f"{len(event.token)} bytes")
        try:
            token, asked = self._token(event)
        except (BodyError, ValueError, RecursionError) as exc:
            return Refusal("malformed", str(exc))
        if not token:
            return Refusal("no_token")
        try:
            claims = self._verify(token)
        except jwt.PyJWTError as exc:
            reason = next((reason for kind, reason in _REASONS if isinstance(exc, kind)), "malformed")
            return Refusal(reason, str(exc))
        except RecursionError as exc:  # JSON that is nested deeply
            return Refusal("malformed", str(exc))
        try:
            return self._identity(claims, asked)
        except ValueError as exc:
            return Refusal("bad_claims", str(exc))

    def _token(self, event: ConnectEvent) -> tuple[str, AuthToken]:
        """Return the token, empty for none, and what the client asks for beside it."""
        text = event.token.decode("utf-8").strip()
        if not text.startswith("{"):
            return text or self._from_cookie(event.cookie), AuthToken()
        member = json.loads(text).get("token", "")
        if not isinstance(member, str):
            raise ValueError("member token is not a string")
        return member or self._from_cookie(event.cookie), parse_token(event.token)

    def _from_cookie(self, header: str) -> str:
        if not self._cookie or not header:
            return ""
        try:
            found = SimpleCookie(header).get(self._cookie)
        except CookieError:
            return ""
        return found.value if found is not None else ""

    def _verify(self, token: str) -> _Claims:
        keys = self._keys if self._jwks is None else self._jwks.value()
        kid = jwt.get_unverified_header(token).get("kid", "")
        key = keys.get(kid, keys.get("") if len(keys) == 1 else None)
        if key is None:
            raise jwt.InvalidSignatureError(f"no key has the id {kid!r}")
        claims: _Claims = jwt.decode(
            token,
            key,
            algorithms=self._algorithms,
            audience=self._audience or None,
            issuer=self._issuer or None,
            leeway=self._leeway_s,
            options={"require": self._require, "verify_sub": False},
        )
        return claims

    def _identity(self, claims: _Claims, asked: AuthToken) -> Identity:
        key = asked.key
        if self._key_claim:
            key = claims.get(self._key_claim, "")
            if not isinstance(key, str):
                raise ValueError(f"claim {self._key_claim} is not a string")
        grant = b""
        if self._rooms_claim:
            rooms = claims.get(self._rooms_claim, [])
            if not isinstance(rooms, list) or not all(isinstance(room, str) for room in rooms):
                raise ValueError(f"claim {self._rooms_claim} is not a list of room patterns")
            grant = dump_grant(rooms)
        return Identity(_mid(claims[self._mid_claim], self._mid_claim), key, asked.room_id, asked.accepts, grant)


def _mid(value: Any, claim: str) -> int:
    """Return the user id of a claim. Any: JSON."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        digits = value.lstrip("0") or "0"
        # All of them or none: some of the digits are another user.
        value = int(digits) if len(digits) <= _MID_DIGITS else value
    if type(value) is not int or not 0 < value <= _MID_MAX:
        raise ValueError(f"claim {claim} is {str(value)[:40]!r}; expected a user id above 0")
    return value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"hook jwt: {path}: {exc.strerror}") from exc


def _secret(data: bytes, where: str, algorithms: list[str]) -> bytes:
    """Return a secret that is as long as the longest hash it is used with (RFC 7518, section 3.2)."""
    secret = data.strip()
    needed = max(int(name.removeprefix("HS")) // 8 for name in algorithms)
    if len(secret) < needed:
        raise ConfigError(
            f"hook jwt: {where} holds {len(secret)} bytes; expected a secret of {needed} or more",
            hint=f"openssl rand -hex {needed // 2}",
        )
    return secret


def _public_key(path: Path) -> Any:
    """Return what PyJWT takes as a key. Any: its types are those of its crypto library."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return load_pem_public_key(_read(path))
    except ValueError as exc:
        raise ConfigError(f"hook jwt: {path}: not a public key in PEM: {exc}") from exc


def _parse_jwks(data: bytes) -> _Keys:
    try:
        keys = jwt.PyJWKSet.from_json(data.decode()).keys
    except (jwt.PyJWTError, UnicodeDecodeError, ValueError, AttributeError, TypeError) as exc:
        raise ValueError(f"not a JSON Web Key Set: {exc}") from exc
    found = {key.key_id or "": key.key for key in keys if key.key_type != "oct"}
    if not found:
        raise ValueError("has no public key")
    if len(found) == 1:
        found.setdefault("", next(iter(found.values())))
    return found


def _check_algorithms(algorithms: list[str], *, is_secret: bool) -> None:
    known = [name for name in jwt.algorithms.get_default_algorithms() if name != "none"]
    for name in algorithms:
        # A public key that is accepted as an HMAC secret lets everybody sign.
        if name not in known or name.startswith("HS") != is_secret:
            expected = [other for other in known if other.startswith("HS") == is_secret]
            raise ConfigError(f"hook jwt: algorithm {name!r}; expected some of {', '.join(expected)}")
