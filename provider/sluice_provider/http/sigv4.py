"""AWS Signature Version 4 as `httpx.Auth`. botocore signs; it is imported when the first request is signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx

from sluice_provider.http.auth_steps import AuthSteps, Steps
from sluice_provider.http.flow import Blocking

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

SIGNED = ("host", "content-type")
"""In addition to the X-Amz headers, which the signer adds: the headers that boto3 signs and proxies do not change."""

ADDED = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")


class SigV4(AuthSteps):
    """Signs every request, with the credentials that are current at that moment.

    The path and the query are signed as they are sent. AWS reads a plus in a query as a space, so a query must be
    encoded with `quote`, as `drivers.py` does, and not with httpx's `params`.

    :param credentials: returns frozen credentials; it may block, and raise errors of this package
    :param service: signing name, as `finspace`
    :param region: as `eu-west-1`
    """

    requires_request_body = True

    def __init__(self, credentials: Callable[[], ReadOnlyCredentials], service: str, region: str) -> None:
        self._credentials = credentials
        self._service = service
        self._region = region

    def _steps(self, request: httpx.Request) -> Steps:
        request.headers.update((yield Blocking(lambda: self._signature(request))))
        yield request

    def _signature(self, request: httpx.Request) -> dict[str, str]:
        """Blocks: botocore is heavy to import, and credentials may have to be fetched."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        headers: dict[str, Any] = {name: request.headers[name] for name in SIGNED if name in request.headers}
        signed = AWSRequest(request.method, str(request.url), headers=headers, data=request.content)
        SigV4Auth(self._credentials(), self._service, self._region).add_auth(signed)
        return {name: signed.headers[name] for name in ADDED if name in signed.headers}
