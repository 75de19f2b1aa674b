"""What a file is called here, where somebody far away says what it is called there."""

from __future__ import annotations

import unicodedata

LONGEST = 180
"""Bytes: most file systems hold 255, and a file that is under way has a longer name."""

UNFIT = '<>:"|?*[]{}#%~'
"""Not allowed by Windows, or with a meaning of their own in URLs and in patterns of names."""

RESERVED = ("con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)))
"""By Windows, with whatever suffix."""


def safe_file_name(told: object, otherwise: str) -> str:
    """The last part of what was told, fit to be a file's name in any folder: it leads nowhere else and hides nothing.

    Separators of all systems end a part; control and formatting characters (which can turn the way of writing round),
    and all that has a meaning to a shell of names, become `_`; dots and blanks at the ends go.

    :param otherwise: what to call the file where nothing usable is left; it is judged likewise
    """
    for text in (str(told or ""), str(otherwise)):
        name = _fit(text.replace("\\", "/").rstrip("/").rpartition("/")[2])
        if name:
            return name
    return "file"


def _fit(part: str) -> str:
    part = unicodedata.normalize("NFC", part.encode("utf-8", "replace").decode())
    name = "".join("_" if each in UNFIT or unicodedata.category(each)[0] == "C" else each for each in part)
    name = _short(name.strip(". \t")).strip(". \t")
    if not name.strip("_"):
        return ""
    return f"_{name}" if name.partition(".")[0].strip().lower() in RESERVED else name


def _short(name: str) -> str:
    """Cut in the middle, so that its suffix still tells what it is."""
    if len(name.encode()) <= LONGEST:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode()) > 16:
        stem, dot, suffix = name, "", ""
    room = LONGEST - len((dot + suffix).encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + dot + suffix
