"""Hook `jwt`: which tokens say who somebody is, and why the others do not."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from imctl.cluster.inprocess import LocalCluster
from imctl.errors import ConfigError
from imctl.hooks.contract import ConnectEvent, Identity, Refusal
from imctl.hooks.jwt_auth import JwtAuthenticator
from protocol.aio import AuthRefusedError, Client

SECRET = "0123456789abcdef0123456789abcdef"
OTHER_SECRET = "fedcba9876543210fedcba9876543210"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)


def at(later_s: int) -> int:
    """Return a moment as claims have it."""
    return int(time.time()) + later_s


def claims(**others: Any) -> dict[str, Any]:
    return {"sub": "7", "exp": at(3600), **others}


def token(payload: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **headers: Any) -> bytes:
    return jwt.encode(payload, key, algorithm=algorithm, headers=headers or None).encode()


def unsigned(payload: dict[str, Any], alg: str = "none") -> bytes:
    parts = ({"alg": alg, "typ": "JWT"}, payload)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*encoded, b""])


def pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwk(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}


async def ask(hook: JwtAuthenticator, body: bytes, cookie: str = "") -> Identity | Refusal:
    return await hook.authenticate(ConnectEvent(body, cookie, "comet-1"))


async def test_a_good_token_says_who_it_is():
    hook = JwtAuthenticator(secret_env="JWT_SECRET")

    assert await ask(hook, token(claims())) == Identity(7)
    assert await ask(hook, token(claims(sub=8))) == Identity(8)


@pytest.mark.parametrize("sub", ["19", "000000000000000000019", "0" * 4000 + "19"])
async def test_every_digit_of_a_user_counts(sub):
    assert await ask(JwtAuthenticator(secret_env="JWT_SECRET"), token(claims(sub=sub))) == Identity(19)


async def test_the_highest_user_gets_in():
    assert await ask(JwtAuthenticator(secret_env="JWT_SECRET"), token(claims(sub=str(2**63 - 1)))) == Identity(
        2**63 - 1
    )


async def test_goims_json_around_the_token_says_what_the_client_asks_for():
    hook = JwtAuthenticator(secret_env="JWT_SECRET")
    asked = {"token": token(claims()).decode(), "mid": 1, "key": "k", "room_id": "live://1", "accepts": [1000, 1001]}

    assert await ask(hook, json.dumps(asked).encode()) == Identity(7, "k", "live://1", (1000, 1001))


async def test_a_cookie_brings_it_when_that_is_asked_for():
    hook = JwtAuthenticator(secret_env="JWT_SECRET", cookie="im")
    cookie = f"other=1; im={token(claims()).decode()}"

    assert await ask(hook, b"{}", cookie) == Identity(7)
    assert await ask(hook, b'{"accepts": [5]}', cookie) == Identity(7, accepts=(5,))
    assert await ask(JwtAuthenticator(secret_env="JWT_SECRET"), b"{}", cookie) == Refusal("no_token")


async def test_key_and_rooms_may_come_from_claims():
    hook = JwtAuthenticator(secret_env="JWT_SECRET", key_claim="device", rooms_claim="rooms", mid_claim="uid")
    payload = {"uid": 7, "exp": at(60), "device": "phone", "rooms": ["live://*"]}

    found = await ask(hook, token(payload))

    assert found == Identity(7, "phone", grant=b'{"rooms":["live://*"]}')


BAD_TOKENS: dict[str, tuple[Callable[[], bytes], str]] = {
    "expired": (lambda: token(claims(exp=at(-10))), "expired"),
    "not yet valid": (lambda: token(claims(nbf=at(3600))), "not_yet_valid"),
    "made in the future": (lambda: token(claims(iat=at(3600))), "not_yet_valid"),
    "another secret": (lambda: token(claims(), OTHER_SECRET), "bad_signature"),
    "a changed signature": (lambda: token(claims())[:-3] + b"AAA", "bad_signature"),
    "alg none": (lambda: unsigned(claims()), "bad_algorithm"),
    "alg NONE": (lambda: unsigned(claims(), "NONE"), "bad_algorithm"),
    "another HMAC": (lambda: token(claims(), SECRET * 2, "HS512"), "bad_algorithm"),
    "a public key": (lambda: token(claims(), KEY, "RS256"), "bad_algorithm"),
    "for somebody else": (lambda: token(claims(aud="somebody else")), "bad_audience"),
    "without expiry": (lambda: token({"sub": "7"}), "missing_claim"),
    "without a user": (lambda: token({"exp": at(60)}), "missing_claim"),
    "a user who is no number": (lambda: token(claims(sub="alice")), "bad_claims"),
    "user 0": (lambda: token(claims(sub="0")), "bad_claims"),
    "user 000": (lambda: token(claims(sub="000")), "bad_claims"),
    "user -1": (lambda: token(claims(sub="-1")), "bad_claims"),
    "user +1": (lambda: token(claims(sub="+1")), "bad_claims"),
    "user 1.0": (lambda: token(claims(sub=1.0)), "bad_claims"),
    "user 1 with a space": (lambda: token(claims(sub="1 ")), "bad_claims"),
    "a user in other digits": (lambda: token(claims(sub="٣")), "bad_claims"),
    "a user of 20 digits": (lambda: token(claims(sub="10000000000000000001")), "bad_claims"),
    "a user of 21 digits": (lambda: token(claims(sub="100000000000000000019")), "bad_claims"),
    "user true": (lambda: token(claims(sub=True)), "bad_claims"),
    "a list of users": (lambda: token(claims(sub=[7])), "bad_claims"),
    "a user over int64": (lambda: token(claims(sub=str(2**63))), "bad_claims"),
    "a user of 5,000 digits": (lambda: token(claims(sub="9" * 5000)), "bad_claims"),
    "garbage": (lambda: b"garbage", "malformed"),
    "three parts of garbage": (lambda: b"a.b.c", "malformed"),
    "not UTF-8": (lambda: b"\xff\xfe\x00", "malformed"),
    "half JSON": (lambda: b"{", "malformed"),
    "a token that is a number": (lambda: b'{"token": 5}', "malformed"),
    "accepts that are no list": (lambda: b'{"token": "' + token(claims()) + b'", "accepts": "all"}', "malformed"),
    "deep JSON": (lambda: b'{"token": ' + b"[" * 10_000, "malformed"),
    "a header of deep JSON": (lambda: base64.urlsafe_b64encode(b"[" * 9000) + b".e30.AAAA", "malformed"),
    "nothing": (lambda: b"", "no_token"),
    "empty JSON": (lambda: b"{}", "no_token"),
    "1 MB": (lambda: b"x" * 1_000_000, "too_large"),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_every_other_token_is_refused_for_its_reason(name):
    make, reason = BAD_TOKENS[name]

    found = await ask(JwtAuthenticator(secret_env="JWT_SECRET"), make())

    assert isinstance(found, Refusal)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"aud": "chat", "iss": "us"}, ""),
        ({"aud": "chat", "iss": "them"}, "bad_issuer"),
        ({"iss": "us"}, "missing_claim"),
    ],
)
async def test_audience_and_issuer_are_checked_where_they_are_given(payload, reason):
    hook = JwtAuthenticator(secret_env="JWT_SECRET", audience="chat", issuer="us")

    found = await ask(hook, token(claims(**payload)))

    assert found == Identity(7) if not reason else isinstance(found, Refusal) and found.reason == reason


async def test_leeway_forgives_clocks_and_expiry_can_be_left_out():
    late = token(claims(exp=at(-10)))

    assert await ask(JwtAuthenticator(secret_env="JWT_SECRET", leeway_s=60), late) == Identity(7)
    assert await ask(JwtAuthenticator(secret_env="JWT_SECRET", require_exp=False), token({"sub": "7"})) == Identity(7)


async def test_a_public_key_verifies_and_is_no_secret(tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(pem(KEY))
    hook = JwtAuthenticator(public_key_file=path)
    # The classic forgery: the public key, which everybody knows, used as an HMAC secret.
    header, payload, _ = unsigned(claims(), "HS256").split(b".")
    forged = header + b"." + payload + b"." + b"A" * 43

    assert await ask(hook, token(claims(), KEY, "RS256")) == Identity(7)
    for other in (token(claims(), OTHER_KEY, "RS256"), token(claims()), forged):
        assert isinstance(await ask(hook, other), Refusal)


async def test_a_key_set_is_chosen_from_by_id_and_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr("imctl.hooks.watched_file._LOOK_EVERY_S", 0.0)
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [jwk(KEY, "a")]}))
    hook = JwtAuthenticator(jwks_file=path)
    old, new = token(claims(), KEY, "RS256", kid="a"), token(claims(), OTHER_KEY, "RS256", kid="b")
    assert await ask(hook, old) == Identity(7)
    assert isinstance(await ask(hook, new), Refusal)

    path.write_text(json.dumps({"keys": [jwk(KEY, "a"), jwk(OTHER_KEY, "b")]}))
    assert await ask(hook, new) == Identity(7)

    path.write_text("{broken")
    assert await ask(hook, old) == Identity(7)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "0 keys given; expected one of secret_env"),
        ({"secret_env": "JWT_SECRET", "secret_file": Path("x")}, "2 keys given"),
        ({"secret_env": "NO_SUCH_VARIABLE"}, "holds 0 bytes; expected a secret of 32 or more"),
        ({"secret_env": "JWT_SECRET", "leeway_s": -1.0}, "leeway_s is -1; expected 0 or more"),
        ({"secret_file": Path("/no/such/file")}, "/no/such/file: No such file"),
        ({"public_key_file": Path(__file__)}, "not a public key in PEM"),
        ({"jwks_file": Path(__file__)}, "not a JSON Web Key Set"),
        ({"secret_env": "JWT_SECRET", "algorithms": ("none",)}, "algorithm 'none'; expected some of HS256"),
        ({"secret_env": "JWT_SECRET", "algorithms": ("RS256",)}, "algorithm 'RS256'"),
    ],
)
def test_options_that_do_not_fit_are_told(options, problem):
    with pytest.raises(ConfigError) as caught:
        JwtAuthenticator(**options)

    assert problem in str(caught.value)


async def test_in_a_cluster_a_bad_token_is_a_closed_connection_and_a_count():
    async with LocalCluster(settings={"logic": {"hooks": ("jwt?secret_env=JWT_SECRET",)}}) as cluster:
        host, _, port = cluster.tcp.rpartition(":")
        with pytest.raises(AuthRefusedError, match="the server closed it"):
            await Client.connect_tcp(host, int(port), token(claims(exp=at(-10))))
        async with await Client.connect_tcp(host, int(port), token(claims())):
            pass

        assert cluster.node("logic").stats()["drops"] == {"hooks.jwt.expired": 1}
