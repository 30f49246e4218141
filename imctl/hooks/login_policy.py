"""Hook `logins`: what happens when a user logs in again, and which keys clients may choose.

imctl up --hooks 'logins?duplicate=kick&keys=unique'
"""

from __future__ import annotations

from typing import Literal

from imctl.hooks.contract import Action, SessionEvent, SessionReply

__all__ = ["LoginPolicy"]


class LoginPolicy:
    """Single sign-on of a user, and the validity of keys.

    Args:
        duplicate: `kick` ends the user's other sessions, `reject` refuses the
            new one, `allow` lets there be several.
        keys: `keep` takes the key a client asks for, `unique` takes it unless
            a session has it (the client then gets a new UUID), `new` always makes one.
    """

    def __init__(
        self,
        duplicate: Literal["kick", "reject", "allow"] = "kick",
        keys: Literal["keep", "unique", "new"] = "keep",
    ) -> None:
        self._duplicate = duplicate
        self._keys = keys

    async def open_session(self, event: SessionEvent) -> SessionReply:
        """See SessionPolicy.open_session."""
        others = frozenset(event.others)
        # The same key on the same comet: the client is back before its comet has noticed that it was gone.
        own = frozenset({event.key}) if event.others.get(event.key) == event.server else frozenset()
        if others - own and self._duplicate == "reject":
            return SessionReply(Action.REJECT, reason="already_logged_in")
        kick = {"kick": others, "reject": own, "allow": frozenset()}[self._duplicate]
        if self._keys == "new" or (self._keys == "unique" and event.taken_on and event.key not in kick):
            return SessionReply(key="", kick=kick)
        return SessionReply(kick=kick)
