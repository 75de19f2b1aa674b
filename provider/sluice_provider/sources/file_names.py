"""Safe local names for files whose names come from a service."""

from __future__ import annotations

import unicodedata

MAX_BYTES = 180
"""Most file systems allow 255 bytes, and the temporary name of a file is longer."""

UNSAFE = '<>:"|?*[]{}#%~'
"""Not allowed by Windows, or with a special meaning in URLs or glob patterns."""

RESERVED = ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)))
"""Device names on Windows, with any extension."""


def safe_file_name(external_name: object, fallback: str) -> str:
    """The last part of a path or name as a file name that is safe in any directory: without a path, and not hidden.

    The separators of all systems end a part; control and formatting characters (which can reverse the direction of
    writing) and characters with a special meaning become `_`; dots and blanks at the ends are removed.

    :param fallback: used if nothing of the name is left; it is sanitized likewise
    """
    for text in (str(external_name or ""), str(fallback)):
        name = _sanitize(text.replace("\\", "/").rstrip("/").rpartition("/")[2])
        if name:
            return name
    return "file"


def _sanitize(part: str) -> str:
    part = unicodedata.normalize("NFC", part.encode("utf-8", "replace").decode())
    name = "".join("_" if each in UNSAFE or unicodedata.category(each)[0] == "C" else each for each in part)
    name = _truncate(name.strip(". \t")).strip(". \t")
    if not name.strip("_"):
        return ""
    return f"_{name}" if name.partition(".")[0].strip().lower() in RESERVED else name


def _truncate(name: str) -> str:
    """Shorten the stem and keep the extension."""
    if len(name.encode()) <= MAX_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode()) > 16:
        stem, dot, suffix = name, "", ""
    available = MAX_BYTES - len((dot + suffix).encode())
    return stem.encode()[:available].decode("utf-8", "ignore") + dot + suffix
