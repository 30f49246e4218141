"""Bodies made of a template: text with fields that chance, a feed or the message itself fills in.

    ${seq}                  number of the message among those of its publisher, from 0
    ${mid} ${key} ${room}   whom the push is for; each only in a push of that kind
    ${uuid}                 a random UUID, version 4
    ${random:int(1..9)}     a whole number, both ends included
    ${random:text(8)}       so many letters and digits
    ${random:of(a|b|c)}     one of these
    ${user.name}            column `name` of the feed `user`
    ${json:user.name}       any of these as a JSON string, quotes included
    $${                     the text ${

Everything random comes from the generator that is passed in, in the order of
the fields, so equal generators give equal texts.
"""

from __future__ import annotations

import difflib
import json
import re
import string
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

__all__ = ["OWN_FIELDS", "Filling", "Facts", "Template", "compile_template", "parse_template"]

OWN_FIELDS = ("seq", "mid", "key", "room", "uuid")
"""Fields of one word. In a file, any other word in `${ }` is a variable of the environment."""

MAX_RANDOM_TEXT = 65_536

_CHARACTERS = string.ascii_letters + string.digits
_FORMS = "${seq}, ${user.name} or ${random:int(1..9)}"
_OPENING = re.compile(r"\$?\$\{")
_COLUMN = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_-]*)\.(.+)")
_RANDOM = re.compile(r"random:(\w+)\((.*)\)", re.DOTALL)
_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})")


@dataclass(frozen=True, slots=True)
class Filling:
    """A field of a template.

    Args:
        kind: One of OWN_FIELDS, or `int`, `text`, `of`, `column`.
        arguments: Both ends of an `int`, the length of a `text`, the choices of an `of`, feed and column of a `column`.
        as_json: Whether it is written as a JSON string.
    """

    kind: str
    arguments: tuple[str, ...] = ()
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: its pieces in order, plain text or a Filling."""

    pieces: tuple[str | Filling, ...]

    @property
    def fillings(self) -> tuple[Filling, ...]:
        """The fields, in order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Filling))

    def longest_bytes(self, columns: Mapping[tuple[str, str], int]) -> int:
        """Return what no text made of it exceeds, in UTF-8.

        Args:
            columns: Bytes of the longest value of each (feed, column).
        """
        return sum(len(piece.encode()) if isinstance(piece, str) else _longest(piece, columns) for piece in self.pieces)


@dataclass(slots=True)
class Facts:
    """What a message is by itself, before its text is made.

    Args:
        number: Among those of its publisher, from 0.
        target: Its mid, key or room; empty for a push to all.
        rows: For each feed the index of the row it takes.
    """

    number: int
    target: str
    rows: Mapping[str, int]


Writer = Callable[[Facts, Random], str]


def parse_template(text: str) -> Template:
    """Return the template of a text; what feeds and columns there are is not known here.

    Raises:
        ValueError: a field cannot be read; the text says what was expected.
    """
    pieces: list[str | Filling] = []
    plain = ""
    position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        plain += text[position : opening.start()]
        if opening[0] == "$${":
            plain += "${"
            position = opening.end()
            continue
        end = text.find("}", opening.end())
        if end < 0:
            raise ValueError(f"a }} behind {_quote(text[opening.start() :])}")
        if plain:
            pieces.append(plain)
            plain = ""
        pieces.append(_parse_field(text[opening.end() : end].strip()))
        position = end + 1
    plain += text[position:]
    if plain or not pieces:
        pieces.append(plain)
    return Template(tuple(pieces))


def compile_template(
    template: Template, columns: Mapping[tuple[str, str], tuple[str, ...]]
) -> Callable[[Facts, Random], bytes]:
    """Return the function that makes the text of one message, in UTF-8.

    Args:
        template: What to make.
        columns: The values of each (feed, column), by row.
    """
    writers = tuple(_constant(one) if isinstance(one, str) else _writer(one, columns) for one in template.pieces)

    def write(facts: Facts, rng: Random) -> bytes:
        return "".join([writer(facts, rng) for writer in writers]).encode()

    return write


def _parse_field(written: str) -> Filling:
    as_json = written.startswith("json:")
    name = written.removeprefix("json:")
    if name in OWN_FIELDS:
        return Filling(name, (), as_json)
    if match := _RANDOM.fullmatch(name):
        return Filling(match[1], _random_arguments(match[1], match[2]), as_json)
    if name.startswith("random:"):
        raise ValueError(f"random:int(1..9), random:text(8) or random:of(a|b) in {_quote('${' + written)}")
    if match := _COLUMN.fullmatch(name):
        return Filling("column", (match[1], match[2]), as_json)
    if name.isidentifier():
        meant = next(iter(difflib.get_close_matches(name, OWN_FIELDS, n=1)), "")
        also = f"; did you mean ${{{meant}}}?" if meant else ""
        raise ValueError(
            f"${{{name}}} to be one of {', '.join(OWN_FIELDS)}, or in a scenario a variable that is set{also}"
        )
    raise ValueError(f"a field such as {_FORMS} and not {_quote('${' + written + '}')}")


def _random_arguments(kind: str, written: str) -> tuple[str, ...]:
    if kind == "int":
        match = _RANGE.fullmatch(written)
        if match is None or int(match[2]) < int(match[1]):
            raise ValueError(f"random:int(1..9), the smaller first, and not random:int({_short(written)})")
        return match[1], match[2]
    if kind == "text":
        if not written.isdecimal() or not 1 <= int(written[:9]) <= MAX_RANDOM_TEXT:
            raise ValueError(f"random:text(1) to random:text({MAX_RANDOM_TEXT}) and not random:text({_short(written)})")
        return (written,)
    if kind == "of":
        return tuple(written.split("|"))
    raise ValueError(f"random:int(1..9), random:text(8) or random:of(a|b) and not random:{_short(kind)}")


def _constant(text: str) -> Writer:
    return lambda facts, rng: text


def _writer(filling: Filling, columns: Mapping[tuple[str, str], tuple[str, ...]]) -> Writer:
    write = _plain_writer(filling, columns)
    if not filling.as_json:
        return write
    return lambda facts, rng: json.dumps(write(facts, rng), ensure_ascii=False)


def _plain_writer(filling: Filling, columns: Mapping[tuple[str, str], tuple[str, ...]]) -> Writer:
    match filling.kind:
        case "seq":
            return lambda facts, rng: str(facts.number)
        case "uuid":
            return lambda facts, rng: str(uuid.UUID(int=rng.getrandbits(128), version=4))
        case "int":
            low, high = (int(end) for end in filling.arguments)
            return lambda facts, rng: str(rng.randint(low, high))
        case "text":
            length = int(filling.arguments[0])
            return lambda facts, rng: "".join(rng.choices(_CHARACTERS, k=length))
        case "of":
            return lambda facts, rng: rng.choice(filling.arguments)
        case "column":
            feed, column = filling.arguments
            values = columns[feed, column]
            return lambda facts, rng: values[facts.rows[feed]]
        case _:
            return lambda facts, rng: facts.target


def _longest(filling: Filling, columns: Mapping[tuple[str, str], int]) -> int:
    """Return the most bytes that a field takes."""
    match filling.kind:
        case "int":
            characters = max(map(len, filling.arguments))
        case "text":
            characters = int(filling.arguments[0])
        case "of":
            characters = max(len(choice.encode()) for choice in filling.arguments)
        case "column":
            feed, column = filling.arguments
            characters = columns.get((feed, column), 0)
        case "seq":
            characters = 20
        case "uuid":
            characters = 36
        case _:
            characters = 1024  # a mid, or a key or a room that goim would still take
    # JSON writes a control character as six.
    return characters * 6 + 2 if filling.as_json else characters


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _quote(text: str) -> str:
    return f'"{_short(text)}"'
