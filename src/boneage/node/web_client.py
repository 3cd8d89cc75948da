"""Requests to services over HTTP, with limits of time and size, and what their failures mean."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from boneage.node.configuration import NodeSettings
from boneage.node.destinations import SecretError, WebService, read_secret
from boneage.node.outcome import OutcomeCode, RequestError, Result

logger = logging.getLogger(__name__)

_LARGEST_ANSWER = 4 * 2**20
"""Bytes of an answer that are read. Answers list a few instances or resources."""
_PIECE = 2**16
_PASSING = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
"""Statuses below 500 that may pass."""
_STAYING = {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED}


@dataclass(frozen=True)
class Answer:
    """An answer of a service.

    Attributes:
        status: HTTP status.
        content_type: media type without parameters, lower case.
        body: its body.
    """

    status: int
    content_type: str
    body: bytes

    @property
    def is_json(self) -> bool:
        """Return whether the body is JSON, of FHIR or DICOM for example."""
        return self.content_type.endswith(("/json", "+json"))


class _Bearer(AuthBase):
    """Token of the service, or nothing. It keeps a file ``.netrc`` from adding other credentials."""

    def __init__(self, token: str = "") -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token to a request."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class WebClient:
    """Connection to a service. Use `connected`."""

    def __init__(self, service: WebService, node: NodeSettings, session: requests.Session) -> None:
        self._service, self._session = service, session
        session.auth = _credentials(service)
        session.cert = (node.tls.cert, node.tls.key) if service.certificate else None

    def request(
        self,
        method: str,
        path: str = "",
        *,
        body: bytes = b"",
        headers: Mapping[str, str] = MappingProxyType({}),
        parameters: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer:
        """Send a request, and return the answer whatever its status.

        Redirections are not followed: a result goes to the address that the configuration names.

        Args:
            method: method of HTTP.
            path: rest of the address.
            body: content.
            headers: headers besides those of the connection.
            parameters: query.

        Raises:
            RequestError: there is no complete answer.
        """
        seconds = self._service.timeout_seconds
        try:
            with self._session.request(
                method,
                self._service.url + path,
                params=dict(parameters) or None,
                data=body or None,
                headers=dict(headers),
                timeout=(seconds, seconds),
                verify=self._service.ca or True,
                allow_redirects=False,
                stream=True,
            ) as response:
                content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
                return Answer(response.status_code, content_type, _read(response, time.monotonic() + seconds))
        except requests.RequestException as error:
            raise RequestError(Result.RETRY, _failure(error)) from None
        except OSError:  # the certificates of the configuration cannot be read
            raise RequestError(Result.RETRY, OutcomeCode.UNREACHABLE) from None


@contextmanager
def connected(service: WebService, node: NodeSettings) -> Iterator[WebClient]:
    """Use a connection to a service; it stays open between requests.

    Args:
        service: the service.
        node: the node, with its certificates.

    Raises:
        RequestError: ``no_secret``.
    """
    with requests.Session() as session:
        yield WebClient(service, node, session)


def _credentials(service: WebService) -> AuthBase:
    if not service.secret:
        return _Bearer()
    try:
        secret = read_secret(service.secret)
    except SecretError as error:
        logger.error("nothing is sent to %s: %s", service.name, error)
        raise RequestError(Result.RETRY, OutcomeCode.NO_SECRET) from None
    return HTTPBasicAuth(service.user.encode(), secret.encode()) if service.user else _Bearer(secret)


def _failure(error: requests.RequestException) -> OutcomeCode:
    cause = error.args[0] if error.args else None
    if isinstance(error, requests.Timeout) or isinstance(cause, ReadTimeoutError):
        return OutcomeCode.TIMEOUT
    if isinstance(error, requests.ConnectionError) and not isinstance(cause, ProtocolError):
        return OutcomeCode.UNREACHABLE  # also without a certificate that is accepted
    return OutcomeCode.ABORTED


def _read(response: requests.Response, deadline: float) -> bytes:
    """Return the body of an answer, or raise `RequestError` if it is too long or too slow."""
    body = bytearray()
    for piece in response.iter_content(_PIECE):
        body += piece
        if time.monotonic() > deadline:
            raise RequestError(Result.RETRY, OutcomeCode.TIMEOUT)
        if len(body) > _LARGEST_ANSWER:
            raise RequestError(Result.RETRY, OutcomeCode.UNCLEAR_ANSWER, f"HTTP {response.status_code}")
    return bytes(body)


def judge_http(status: int) -> tuple[Result, OutcomeCode]:
    """Return what follows from an HTTP status, and its reason.

    An expired token or a missing right is mended at the destination or in a file, so that the attempts go on.

    Args:
        status: 100 to 599.
    """
    if status in range(200, 300):
        return Result.DONE, OutcomeCode.SUCCESS
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}:
        return Result.RETRY, OutcomeCode.NOT_AUTHORISED
    if status in _PASSING or (status >= 500 and status not in _STAYING):
        return Result.RETRY, OutcomeCode.BUSY
    if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}:
        return Result.DEAD, OutcomeCode.NOT_UNDERSTOOD
    if status in {HTTPStatus.NOT_ACCEPTABLE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}:
        return Result.DEAD, OutcomeCode.NOT_ACCEPTED
    return Result.DEAD, OutcomeCode.FAILURE
