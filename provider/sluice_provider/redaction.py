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

MAX_EXCERPTED = 1_000_000
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


class Redactor:
    """The secrets that this process knows, in every form in which a service may repeat them."""

    def __init__(self) -> None:
        self._secrets: dict[str, tuple[str, ...]] = {}
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def add(self, secret: str) -> None:
        """From now on it is removed from every text."""
        if len(secret) < MIN_LENGTH or secret.casefold() in NO_SECRETS:
            return
        with self._lock:
            if self._secrets.get(secret) is None:
                self._secrets[secret] = forms_of(secret)
                if len(self._secrets) > MAX_SECRETS:
                    del self._secrets[next(iter(self._secrets))]
                self._pattern = None

    def clear(self) -> None:
        """Forget all, for tests."""
        with self._lock:
            self._secrets, self._pattern = {}, None

    def redact_known(self, text: str) -> str:
        """The text without the secrets that were added."""
        pattern = self._pattern
        if pattern is None:
            pattern = self._compile()
        return pattern.sub(MASK, text)

    def _compile(self) -> re.Pattern[str]:
        with self._lock:
            forms = {form for forms in self._secrets.values() for form in forms}
            longest_first = sorted(forms, key=lambda form: (-len(form), form))
            self._pattern = re.compile("|".join(map(_as_pattern, longest_first)) or "(?!)")
            return self._pattern


def _as_pattern(form: str) -> str:
    return re.escape(form) if len(form) >= MIN_INNER_LENGTH else rf"(?<!\w){re.escape(form)}(?!\w)"


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
