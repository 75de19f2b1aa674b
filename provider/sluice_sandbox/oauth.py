"""Access and refresh tokens in families, as an OAuth server keeps them that rotates refresh tokens (RFC 9700, 4.14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice_sandbox.context import Context


@dataclass
class Family:
    """All tokens that descend from one grant; they are revoked together."""

    revoked: bool = False


@dataclass(frozen=True)
class Pair:
    """What a client is given."""

    access_token: str
    refresh_token: str
    expires_in: int


class Tokens:
    """A refresh token is good once; seen again, it was stolen or shared, and its whole family is revoked."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._access: dict[str, tuple[Family, float]] = {}
        self._refresh: dict[str, Family] = {}
        self._used: set[str] = set()

    def grant(self, family: Family | None = None) -> Pair:
        """A new pair; without a family, the first of a new one."""
        family = family or Family()
        ids = self._context.ids
        pair = Pair(ids.token(32), ids.token(32), self._context.settings.token_lifetime)
        self._access[pair.access_token] = family, self._context.clock.now() + pair.expires_in
        self._refresh[pair.refresh_token] = family
        return pair

    def refresh(self, refresh_token: str) -> Pair | None:
        """The next pair of the family, or None if this token is unknown, revoked or was used before."""
        family = self._refresh.get(refresh_token)
        if family is None or family.revoked:
            return None
        if refresh_token in self._used:
            family.revoked = True
            return None
        self._used.add(refresh_token)
        return self.grant(family)

    def good(self, access_token: str) -> bool:
        """Known, not revoked and not expired."""
        family, until = self._access.get(access_token, (Family(revoked=True), 0.0))
        return not family.revoked and self._context.clock.now() < until
