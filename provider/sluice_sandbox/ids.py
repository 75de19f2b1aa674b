"""Ids and secrets: random, or reproducible with a seed."""

from __future__ import annotations

import base64
import random


class Ids:
    """The only source of random values in a sandbox."""

    def __init__(self, seed: int | str | None = None) -> None:
        self.seed(seed)

    def seed(self, seed: int | str | None) -> None:
        """Restart the sequence of ids from this seed; None makes ids unpredictable."""
        self._random = random.SystemRandom() if seed is None else random.Random(seed)

    def uuid(self) -> str:
        """A UUID of version 4."""
        bits = self._random.getrandbits(128) & ~(0xF000 << 64 | 0xC000 << 48) | (0x4000 << 64 | 0x8000 << 48)
        text = f"{bits:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def hexadecimal(self, length: int) -> str:
        """`length` hexadecimal digits."""
        return f"{self._random.getrandbits(4 * length):0{length}x}"

    def token(self, size: int) -> str:
        """A secret of `size` random bytes, URL-safe base64."""
        content = self._random.getrandbits(8 * size).to_bytes(size, "big")
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    def letters(self, alphabet: str, length: int) -> str:
        """`length` letters of an alphabet."""
        return "".join(self._random.choices(alphabet, k=length))
