"""Bodies of responses, decompressed piece by piece and up to a limit: a few bytes can stand for gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

from sluice_provider.errors import ResponseTooLarge, UnexpectedResponse

ACCEPT_ENCODING = "gzip, deflate"
"""What is requested and decoded. httpx would decode more if more is installed, and each piece as a whole."""

PIECE = 1 << 20
"""Bytes that are decompressed at a time."""

WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}
"""Content codings (RFC 9110, 8.4.1) and the `wbits` by which zlib reads them."""


def bound_body(response: httpx.Response, max_bytes: int | None, name: str) -> None:
    """Let a response be read only up to this size, decompressed. To be called again for another limit.

    :param max_bytes: None for a body that is written to a file
    :param name: of the request, for errors
    :raises UnexpectedResponse: the body has an encoding that was not requested
    """
    body = response.stream
    if not isinstance(body, BoundedBody):
        body = response.stream = BoundedBody(body, _window(response.headers.pop("content-encoding", ""), name))
    body.max_bytes, body.name = max_bytes, name


def _window(coding: str, name: str) -> int | None:
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding not in WINDOWS:
        raise UnexpectedResponse(
            f"{name} was answered with the content encoding {coding!r:.60}, and {ACCEPT_ENCODING} were requested"
        )
    return WINDOWS[coding]


class BoundedBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is decompressed here, so that httpx has nothing to decode.

    :param window: as in `WINDOWS`; None: it is not compressed
    """

    def __init__(self, stream: Any, window: int | None) -> None:
        self._stream = stream
        self._decoder = None if window is None else _Decoder(window)
        self._count = 0
        self.max_bytes: int | None = None
        self.name = ""

    def __iter__(self) -> Iterator[bytes]:
        for raw in self._stream:
            yield from self._pieces(raw)
        self._end()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for raw in self._stream:
            for piece in self._pieces(raw):
                yield piece
        self._end()

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _pieces(self, raw: bytes) -> Iterator[bytes]:
        for piece in (raw,) if self._decoder is None else self._decoder.decode(raw):
            self._count += len(piece)
            if self.max_bytes is not None and self._count > self.max_bytes:
                raise ResponseTooLarge(
                    f"{self.name} was answered with more than {self.max_bytes:,} bytes (decompressed), and not more "
                    "are read into memory"
                )
            yield piece

    def _end(self) -> None:
        if self._decoder is not None and not self._decoder.complete:
            raise httpx.DecodingError("the compressed body is incomplete")


class _Decoder:
    def __init__(self, window: int) -> None:
        self._window = window
        self._zlib: Any = None
        self.complete = True

    def decode(self, raw: bytes) -> Iterator[bytes]:
        """:raises httpx.DecodingError: the body is not compressed in this way"""
        while raw:
            if self._zlib is None:
                self._zlib, self.complete = zlib.decompressobj(self._window_for(raw)), False
            elif self._zlib.eof and not self._begins_member(raw):
                return  # padding, which other clients ignore, too
            elif self._zlib.eof:
                self._zlib, self.complete = zlib.decompressobj(self._window), False
            yield from self._member(raw)
            self.complete = self._zlib.eof
            raw = self._zlib.unused_data

    def _member(self, raw: bytes) -> Iterator[bytes]:
        while True:
            try:
                piece = self._zlib.decompress(raw, PIECE)
            except zlib.error as error:
                raise httpx.DecodingError(str(error)) from None
            if piece:
                yield piece
            raw = self._zlib.unconsumed_tail
            if not raw and len(piece) < PIECE:
                return

    def _window_for(self, raw: bytes) -> int:
        """Some servers send "deflate" without zlib's header, whose first byte ends with the method, 8."""
        return -zlib.MAX_WBITS if self._window == zlib.MAX_WBITS and raw[0] & 0x0F != 8 else self._window

    def _begins_member(self, raw: bytes) -> bool:
        return self._window == WINDOWS["gzip"] and raw[0] == 0x1F
