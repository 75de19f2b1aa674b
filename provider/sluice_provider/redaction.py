"""The one place that removes secrets from texts: of errors, messages, logs, and whatever is stored of them.

What a service returns may repeat anything that it was sent. Every secret of a connection and every token is registered
when it is read or issued (`add`), by everything that sends it. `SluiceError` redacts its message when it is made, and
`excerpt` redacts before it cuts, as a part of a secret would not be recognised.

Secrets that this process never saw (a token of the worker that submitted the job) are recognised by their form.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

MASK = "***"

MIN_LENGTH = 5
"""Characters. Shorter secrets are not looked for, as in Airflow: they are part of ordinary words."""

NO_SECRETS = ("airflow", "password", "secret", "token")
"""Not looked for: without these words, messages could not name the field to correct, and they protect nothing."""

MIN_INNER_LENGTH = 8
"""Characters. Shorter secrets are not looked for inside of words."""

MAX_SECRETS = 5_000
"""Of one process. A triggerer that runs for months gets many tokens; the oldest ones have expired."""

MAX_EXCERPTED = 100_000
"""Characters of a text that are searched to show its beginning."""

_CREDENTIAL_NAMES = (
    r"[\w-]*authorization|[\w-]*api[_-]?key|[\w-]*token|[\w-]*secret|[\w-]*password|[\w-]*signature|sig|cookie"
)
_LOOKS_RANDOM = r"(?=[^\s\"',;&}]*[0-9A-Z])[^\s\"',;&}]{6,}"
_SCHEME = r"(?:(?i:bearer|basic|x-api-key:?|aws4-hmac-sha256)\s+)?"
_CREDENTIALS = re.compile(
    r"(?P<scheme>\b(?i:bearer|basic|x-api-key:?)\s+)(?=\S*[0-9A-Z+/=])[\w.~+/=-]{6,}"
    rf"|(?P<name>[\"']?\b(?i:{_CREDENTIAL_NAMES})\\?[\"']?\s*[:=]\s*(?:\\?[\"'])?){_SCHEME}{_LOOKS_RANDOM}"
    r"|\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"  # a JSON Web Token
)
_LINK = re.compile(r"(https?|wss?)://([^\s\"'<>\\/?#@]*@)?([^\s\"'<>\\/?#@]*)(/[^\s\"'<>\\?#]*)?(\?[^\s\"'<>\\#]*)?")


_WORD = re.compile(r"\w")


class Redactor:
    """The secrets that this process knows, in every form in which a service may repeat them.

    The forms are found by their first characters, so neither a new secret nor a text costs more with many secrets.
    """

    def __init__(self) -> None:
        self._secrets: dict[str, tuple[str, ...]] = {}
        self._forms: dict[str, tuple[str, ...]] = {}  # by their first characters, the longest first
        self._lock = threading.Lock()

    def add(self, secret: str) -> None:
        """From now on it is removed from every text."""
        if len(secret) < MIN_LENGTH or secret.casefold() in NO_SECRETS:
            return
        with self._lock:
            if secret in self._secrets:
                return
            self._secrets[secret] = forms_of(secret)
            for form in self._secrets[secret]:
                known = self._forms.get(form[:MIN_LENGTH], ())
                self._forms[form[:MIN_LENGTH]] = tuple(sorted((*known, form), key=len, reverse=True))
            if len(self._secrets) > MAX_SECRETS:
                self._forget(next(iter(self._secrets)))

    def _forget(self, secret: str) -> None:
        for form in self._secrets.pop(secret):
            known = list(self._forms[form[:MIN_LENGTH]])
            known.remove(form)  # once: another secret may have the same form
            self._forms[form[:MIN_LENGTH]] = tuple(known)
            if not known:
                del self._forms[form[:MIN_LENGTH]]

    def clear(self) -> None:
        """Forget all, for tests."""
        with self._lock:
            self._secrets, self._forms = {}, {}

    def redact_known(self, text: str) -> str:
        """The text without the secrets that were added."""
        parts, kept, at = [], 0, 0
        while at <= len(text) - MIN_LENGTH:
            length = self._length_of_secret(text, at)
            if length:
                parts += [text[kept:at], MASK]
                kept = at + length
            at += length or 1
        return "".join([*parts, text[kept:]]) if parts else text

    def _length_of_secret(self, text: str, at: int) -> int:
        """Of the longest form that begins there; 0 if none does."""
        for form in self._forms.get(text[at : at + MIN_LENGTH], ()):
            if text.startswith(form, at) and (len(form) >= MIN_INNER_LENGTH or _is_word(text, at, at + len(form))):
                return len(form)
        return 0


def _is_word(text: str, start: int, end: int) -> bool:
    """Whether it is not a part of a longer word."""
    return not (_WORD.match(text, start - 1) if start else None) and not _WORD.match(text, end)


def forms_of(secret: str) -> tuple[str, ...]:
    """A secret as such, in JSON, in a URL, and in Base64, also as a part of something longer."""
    escaped = json.dumps(secret)[1:-1]
    percent = [quote(secret, safe=""), quote(secret), quote_plus(secret)] if _encodable(secret) else []
    forms = [secret, repr(secret)[1:-1], escaped, escaped.replace("/", "\\/"), unquote(secret)]
    forms += percent + [re.sub("%..", lambda each: each[0].lower(), each) for each in percent]
    return tuple(dict.fromkeys(form for form in (*forms, *_base64(secret)) if len(form) >= MIN_LENGTH))


def _base64(secret: str) -> list[str]:
    """At each of the three positions that it may have in what is encoded; without the characters that depend on what is
    before and behind it."""
    data = secret.encode("utf-8", "replace")
    found = []
    for encode in (b64encode, urlsafe_b64encode):
        for before in range(3):
            begin, end = (8 * before + 5) // 6, (before + len(data)) * 8 // 6
            form = encode(b"\0" * before + data).decode()[begin:end]
            found += [form] if len(form) >= MIN_INNER_LENGTH else []
    return found


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_known = Redactor()

add = _known.add
clear = _known.clear


def add_link(url: str) -> None:
    """A link of a service: its path and its query may grant access."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    for part in (parts.path, parts.query, *(each.partition("=")[2] for each in parts.query.split("&"))):
        if len(part) >= 2 * MIN_INNER_LENGTH:
            add(part)


def redact(text: str) -> str:
    """The text without known secrets, and without what has the form of a credential."""
    return _CREDENTIALS.sub(_without_credential, _known.redact_known(text))


def redact_message(text: str) -> str:
    """A text for people: also without users, passwords and queries of links, and the paths of links with queries."""
    return _LINK.sub(_without_query, redact(text)) if "://" in text else redact(text)


def redact_value(value: Any) -> Any:
    """A JSON value with every string redacted; names of members as they are."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: redact_value(each) for name, each in value.items()}
    return [redact_value(each) for each in value] if isinstance(value, (list, tuple)) else value


def excerpt(value: object, length: int) -> str:
    """The beginning of a text, or of the repr of something else, redacted before it is cut."""
    text = value if isinstance(value, str) else repr(value)
    return redact_message(text[:MAX_EXCERPTED])[:length]


def _without_credential(found: re.Match[str]) -> str:
    return (found["scheme"] or found["name"] or "") + MASK


def _without_query(link: re.Match[str]) -> str:
    scheme, _, host, path, query = link.groups("")
    return f"{scheme}://{host}/{MASK}" if query else f"{scheme}://{host}{path}"


class RedactingFilter(logging.Filter):
    """For the loggers of HTTP libraries, which log URLs, headers, and what a service says."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact_message(record.getMessage()), ()
        return True
