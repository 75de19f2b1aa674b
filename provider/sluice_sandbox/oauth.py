"""Access and refresh tokens of an OAuth server that rotates refresh tokens (RFC 9700, section 4.14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice_sandbox.context import Context


@dataclass
class TokenFamily:
    """All tokens that derive from one grant; they are revoked together."""

    revoked: bool = False


@dataclass(frozen=True)
class TokenPair:
    """The response to a grant; `expires_in` is in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class Tokens:
    """A refresh token is valid once; if it is used again, its whole family is revoked."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._access: dict[str, tuple[TokenFamily, float]] = {}
        self._refresh: dict[str, TokenFamily] = {}
        self._used: set[str] = set()

    def grant(self, family: TokenFamily | None = None) -> TokenPair:
        """A new pair, of a new family if none is given."""
        family = family or TokenFamily()
        ids = self._context.ids
        pair = TokenPair(ids.token(32), ids.token(32), self._context.settings.token_lifetime)
        self._access[pair.access_token] = family, self._context.clock.now() + pair.expires_in
        self._refresh[pair.refresh_token] = family
        return pair

    def refresh(self, refresh_token: str) -> TokenPair | None:
        """The next pair of the family, or None if the token is unknown, revoked or already used."""
        family = self._refresh.get(refresh_token)
        if family is None or family.revoked:
            return None
        if refresh_token in self._used:
            family.revoked = True
            return None
        self._used.add(refresh_token)
        return self.grant(family)

    def is_valid(self, access_token: str) -> bool:
        """Known, not revoked and not expired."""
        family, expires_at = self._access.get(access_token, (TokenFamily(revoked=True), 0.0))
        return not family.revoked and self._context.clock.now() < expires_at
