"""Hook `rooms`: who may be in which room, by pattern.

    imctl up --hooks 'rooms?allow=live://*,private://${mid}'
    imctl up --hooks 'rooms?file=rooms.yaml&again_s=10'
    imctl up --hooks 'jwt?secret_env=KEY&rooms_claim=rooms' --hooks 'rooms?grant=true'

The file has a pattern a line and who it is for: `all`, or a list of mids.

    live://*: all
    vip://1: [1, 2, 3]
    private://${mid}: all

In a pattern `*` is any text, `?` any character, and `${mid}` the user's id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from imctl.errors import ConfigError
from imctl.hooks.contract import HookError, RoomEvent, RoomReply
from imctl.hooks.watched_file import WatchedFile

__all__ = ["RoomAllowList", "dump_grant"]

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,18})")

_Rules = Mapping[str, frozenset[int] | None]
"""Who a pattern is for; None is everybody."""


def dump_grant(rooms: list[str]) -> bytes:
    """Return the grant with which an authenticator says what rooms a user may be in."""
    return json.dumps({"rooms": rooms}, separators=(",", ":"), ensure_ascii=False).encode()


class RoomAllowList:
    """Allows a room when a pattern for this user matches it; everything else is refused.

    Args:
        allow: Patterns for everybody.
        file: YAML file with patterns; a change counts from the next question
            on. While it cannot be read, what it said before goes on.
        grant: Allow also the patterns that the authenticator found in the token.
        again_s: Ask again for each user after so many seconds, so that a right that is taken away ends; 0 never.

    Raises:
        ConfigError: nothing could ever be allowed, or the file is not as above.
    """

    def __init__(
        self, allow: tuple[str, ...] = (), file: Path | None = None, grant: bool = False, again_s: float = 0.0
    ) -> None:
        if not allow and file is None and not grant:
            raise ConfigError(
                "hook rooms: allows nothing", hint="rooms?allow=live://*, rooms?file=..., rooms?grant=true"
            )
        if again_s < 0:
            raise ConfigError(f"hook rooms: again_s is {again_s:g}; expected 0 or more")
        self._allow = allow
        self._file: WatchedFile[_Rules] | None = None if file is None else WatchedFile(file, _parse)
        self._grant = grant
        self._again_s = again_s

    async def enter_room(self, event: RoomEvent) -> RoomReply:
        """See RoomPolicy.enter_room."""
        if self._allowed(event):
            return RoomReply(True, again_s=self._again_s)
        return RoomReply(False, "room_refused")

    def _allowed(self, event: RoomEvent) -> bool:
        matches = _matcher(event)
        if any(map(matches, self._allow)):
            return True
        if self._grant and any(map(matches, _granted(event.grant))):
            return True
        if self._file is None:
            return False
        rules = self._file.value()
        return any((mids is None or event.mid in mids) and matches(pattern) for pattern, mids in rules.items())


def _matcher(event: RoomEvent) -> Callable[[str], bool]:
    mid = str(event.mid)
    # A room name with `*` or `[` in it is text, not a pattern: only the second argument is one.
    return lambda pattern: fnmatchcase(event.room, pattern.replace("[", "[[]").replace("${mid}", mid))


def _granted(grant: bytes) -> list[str]:
    if not grant:
        return []
    try:
        rooms = json.loads(grant)["rooms"]
    except (ValueError, KeyError, TypeError) as exc:
        raise HookError("the grant of this session is not one of dump_grant()") from exc
    return [str(room) for room in rooms]


def _parse(data: bytes) -> _Rules:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML whose numbers are plain decimals: there 017 is 15, 1_0 is 10 and 1:30 is 90, which are other users."""

        def decimal(self, node: yaml.Node) -> int:
            text = str(node.value)
            if not _DECIMAL.fullmatch(text):
                raise ValueError(f"line {node.start_mark.line + 1}: {text[:40]}: expected digits without a 0 in front")
            return int(text)

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.decimal)
    try:
        document: Any = yaml.load(data, Loader)
    except (yaml.YAMLError, RecursionError) as exc:
        raise ValueError(f"not YAML: {exc}") from exc
    if not isinstance(document, dict):
        raise ValueError("expected `pattern: all` or `pattern: [mid, ...]` lines")
    rules: dict[str, frozenset[int] | None] = {}
    for pattern, who in document.items():
        if who == "all":
            rules[str(pattern)] = None
        elif isinstance(who, list) and all(type(mid) is int for mid in who):
            rules[str(pattern)] = frozenset(who)
        else:
            raise ValueError(f"{pattern}: is {who!r}; expected all, or a list of mids")
    return rules
