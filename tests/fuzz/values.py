"""What services and users may write: JSON values of any shape, with those that break readers."""

from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

settings.register_profile(
    "test",
    max_examples=1500,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("fuzz", settings.get_profile("test"), max_examples=20_000, derandomize=False)
PROFILE = settings.get_profile(os.environ.get("SLUICE_FUZZ_PROFILE", "test"))

ODD_TEXTS = (
    *(
        "",
        " ",
        "None",
        "\0",
        "\ud800",
        "a\udfffb",
        "\u202e",
        "1e999",
        "-1",
        "NaN",
        "9" * 400,
        "http://[",
        "https://[::1",
    ),
    *(
        "https://x:99999/",
        "2026-13-45",
        "9999-12-31T23:59:59+00:00",
        "0001-01-01T00:00:00+23:59",
        "x" * 3000,
        "\r\nX: y",
    ),
    *("completed", "failed", "COMPLETED", "FAILED", "validated", "true", "Azure", "%00", "../..", "a@b:c"),
)
ODD_NUMBERS = (10**400, -(10**400), 2**63, 1e308, -1e-308, float("inf"), float("nan"), -0.0, 253402300800, 1e12, True)

texts = st.sampled_from(ODD_TEXTS) | st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(ODD_NUMBERS) | texts


def json_values(names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """Values whose objects have the members that a service's objects have, so that readers get far."""
    keys = st.sampled_from(names) | texts
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=8),
        max_leaves=12,
    )


DEEP = (b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
NO_JSON = (b"", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{", b"nul", b"NaN", b"1" * 5000, b'{"a":"\\ud800"}', b"<html>", *DEEP)


def bodies(names: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """Bodies of responses: mostly JSON."""
    encoded = json_values(names).map(lambda value: json.dumps(value).encode())
    return st.one_of(*[encoded] * 12, st.sampled_from(NO_JSON), st.binary(max_size=20))


_header_texts = st.sampled_from(
    ("", "x", "-1", "1e999", "nan", "inf", "9" * 400, "Wed, 21 Oct 2015 07:28:00 +999999", "Mon, 99 Foo 99999", "0")
)
headers = st.dictionaries(
    st.sampled_from(("retry-after", "date", "x-request-id", "content-type", "x-amzn-errortype", "location")),
    _header_texts
    | st.sampled_from(("http://[", "http://x:99999", "//", "\xff\xfe", "http://\udcff".replace("\udcff", "é"))),
    max_size=3,
)
statuses = st.one_of(*[st.just(200)] * 8, st.sampled_from((204, 302, 400, 401, 403, 404, 409, 413, 429, 500, 503, 599)))
