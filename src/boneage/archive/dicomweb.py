"""A PACS as a source, through DICOMweb (PS3.18): QIDO-RS lists studies and instances, WADO-RS gives the objects.

A PACS is restarted, and networks fail. Every request is therefore repeated for a while, with growing pauses. If the
PACS still does not answer, the run ends; the same command continues it later.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import requests

from boneage.archive.items import ArchiveItem, Selection, SourceUnavailableError
from boneage.errors import ConfigurationError, NodeError, Rejection, RejectionCode
from boneage.reading.facts import DEFAULT_LIMITS
from boneage.reading.rejections import damaged

AUTH_VARIABLE = "BONEAGE_DICOMWEB_AUTH"
"""Environment variable with the authorization, if there is no file."""
PATIENCE_SECONDS = 600.0
"""Time for which a request is repeated, seconds: a PACS takes minutes to start."""
_LONGEST_PAUSE_SECONDS = 15.0
_TIMEOUT_SECONDS = (10.0, 120.0)
"""Limits for connecting, and for each pause within an answer, seconds."""
_PAGE = 500
"""Studies of one page of the list."""
_ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Media type of an object as it is stored, without decompression (PS3.18, 8.7.3)."""
_BUSY = {408, 429, 500, 502, 503, 504}
"""Statuses after which a request is repeated."""
_STUDY_UID, _SERIES_UID, _INSTANCE_UID, _MODALITY = "0020000D", "0020000E", "00080018", "00080060"
_CHUNK = 2**20
T = TypeVar("T")


def authorization(file: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """Return the value of the header Authorization, from the first line of a file or from the environment.

    Args:
        file: File with ``user:password`` or the value itself, such as ``Bearer ...``; None for the environment.
        environment: Environment with the variable `AUTH_VARIABLE`.

    Returns:
        The value; empty if nothing is given.

    Raises:
        OSError: The file cannot be read.
    """
    text = environment.get(AUTH_VARIABLE, "") if file is None else file.read_text(encoding="utf-8")
    line = next(iter(text.splitlines()), "").strip()
    if not line or " " in line:
        return line
    return f"Basic {base64.b64encode(line.encode()).decode('ascii')}"


class DicomwebSource:
    """Radiographs of a PACS.

    Attributes:
        description: Kind of source.
        expected: Number of instances as estimated from the studies so far; None before the first study.
    """

    description = "a PACS (DICOMweb)"

    def __init__(
        self, root: str, authorization_value: str, selection: Selection, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Remember the address. Nothing is requested yet.

        Args:
            root: Root of the services, such as ``https://pacs/dicom-web``.
            authorization_value: Value of the header Authorization; empty for none.
            selection: Which studies are listed. The PACS may ignore parts of it; workers apply it again.
            patience_seconds: See `PATIENCE_SECONDS`.

        Raises:
            ConfigurationError: ``address_invalid`` if the root is no address of a web server.
        """
        parts = urlsplit(root)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.username is not None:
            raise ConfigurationError(
                "address_invalid",
                "The root of DICOMweb services must be like https://pacs/dicom-web, without a password.",
            )
        self.expected: int | None = None
        self._root = root.rstrip("/")
        self._authorization = authorization_value
        self._selection = selection
        self._patience_seconds = patience_seconds
        self._session: requests.Session | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leave out the connections, which each process makes itself."""
        return {**vars(self), "_session": None}

    def items(self) -> Iterator[ArchiveItem]:
        """Yield the instances of the selected modalities, study by study.

        Studies are sorted by their UID, page by page as the PACS gives them.

        Raises:
            NodeError: ``peer_not_ready`` if the PACS does not answer, or does not allow the search.
        """
        try:
            studies = sorted(self._studies())
            listed = 0
            for place, study in enumerate(studies, 1):
                instances = sorted(self._instances(study))
                listed += len(instances)
                self.expected = round(listed / place * len(studies))
                yield from (ArchiveItem(locator) for locator in instances)
        except SourceUnavailableError as error:
            raise NodeError("peer_not_ready", str(error)) from None

    def read(self, item: ArchiveItem) -> bytes:
        """Return the file of an instance as the PACS stores it.

        Raises:
            Rejection: ``not_found``, ``too_large``; ``unreadable`` if the answer holds no object.
            SourceUnavailableError: The PACS does not answer.
        """
        study, series, instance = item.locator.split("/")
        path = f"/studies/{study}/series/{series}/instances/{instance}"
        return self._patiently(lambda: self._object(path))

    # --- QIDO-RS ---

    def _studies(self) -> set[str]:
        """Return the UIDs of all selected studies."""
        selection, uids = self._selection, set[str]()
        queries = selection.modalities or ("",)
        for modality in queries:
            query: dict[str, str | int] = {"limit": _PAGE, "offset": 0}
            if modality:
                query["ModalitiesInStudy"] = modality
            if selection.first_date or selection.last_date:
                first, last = (f"{one:%Y%m%d}" if one else "" for one in (selection.first_date, selection.last_date))
                query["StudyDate"] = f"{first}-{last}"
            while page := self._search("/studies", query):
                new = {uid for one in page if (uid := _first(one, _STUDY_UID))}
                is_repeated = new <= uids
                uids |= new
                query["offset"] = int(query["offset"]) + len(page)
                if is_repeated:  # the PACS ignores the offset
                    break
        return uids

    def _instances(self, study: str) -> list[str]:
        """Return the locators of a study's instances of the selected modalities."""
        answers = self._search(f"/studies/{study}/instances", {"includefield": _MODALITY})
        wanted = self._selection.modalities
        locators = []
        for one in answers:
            modality = _first(one, _MODALITY).upper()
            if wanted and modality and modality not in wanted:
                continue
            uids = (study, _first(one, _SERIES_UID), _first(one, _INSTANCE_UID))
            if all(uids):
                locators.append("/".join(uids))
        return locators

    def _search(self, path: str, query: Mapping[str, str | int]) -> list[dict[str, Any]]:
        def ask() -> list[dict[str, Any]]:
            with self._get(path, "application/dicom+json", query) as response:
                if response.status_code == requests.codes.no_content or not response.content:
                    return []
                answers = response.json()
                return answers if isinstance(answers, list) else []

        try:
            return self._patiently(ask)
        except Rejection as rejection:
            raise NodeError("peer_not_ready", f"The PACS rejects a search: {rejection.message}") from None

    # --- WADO-RS ---

    def _object(self, path: str) -> bytes:
        with self._get(path, _ANY_SYNTAX) as response:
            parts, size = [], 0
            for part in response.iter_content(_CHUNK):
                size += len(part)
                DEFAULT_LIMITS.check_bytes(size)
                parts.append(part)
            return only_part(response.headers.get("Content-Type", ""), b"".join(parts))

    # --- requests ---

    def _get(self, path: str, accept: str, query: Mapping[str, str | int] | None = None) -> requests.Response:
        """Send a request, and return its answer with its status checked.

        Raises:
            Rejection: ``not_found`` for a status that another attempt would not change.
            _BusyError: The request can be repeated.
        """
        if self._session is None:
            self._session = requests.Session()
            if self._authorization:
                self._session.headers["Authorization"] = self._authorization
                self._session.trust_env = "REQUESTS_CA_BUNDLE" in os.environ  # no other password from the environment
        try:
            response = self._session.get(
                self._root + quote(path),
                params=query,
                headers={"Accept": accept},
                timeout=_TIMEOUT_SECONDS,
                stream=True,
            )
        except requests.RequestException as error:
            raise _BusyError(type(error).__name__) from None
        if response.ok:
            return response
        response.close()
        status = response.status_code
        if status in _BUSY:
            raise _BusyError(f"status {status}")
        if status in {requests.codes.unauthorized, requests.codes.forbidden}:
            raise SourceUnavailableError(f"The PACS denies access (status {status}). Check --auth.")
        raise Rejection(RejectionCode.NOT_FOUND, f"The PACS does not give the object: status {status}.")

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Return an answer, asking again while the PACS is away or busy."""
        end = time.monotonic() + self._patience_seconds
        pause = 0.5
        while True:
            try:
                return ask()
            except (_BusyError, requests.RequestException) as error:
                reason = str(error) if isinstance(error, _BusyError) else type(error).__name__
                if time.monotonic() + pause > end:
                    host = urlsplit(self._root).netloc
                    raise SourceUnavailableError(
                        f"The PACS at {host} does not answer ({reason}). The same command continues later."
                    ) from None
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class _BusyError(Exception):
    """A request that can be repeated."""


def only_part(content_type: str, body: bytes) -> bytes:
    """Return the one part of an answer in the form multipart/related (RFC 2046, 5.1), or a body without parts.

    Args:
        content_type: Header Content-Type with the boundary.
        body: The body.

    Raises:
        Rejection: ``unreadable`` if the parts cannot be found.
    """
    if not content_type.lower().startswith("multipart/"):
        return body
    boundary = next(
        (
            value.strip().strip('"')
            for name, _, value in (one.partition("=") for one in content_type.split(";"))
            if name.strip().lower() == "boundary"
        ),
        "",
    ).encode()
    delimiter = b"--" + boundary
    start = body.find(delimiter)
    head_end = body.find(b"\r\n\r\n", start)
    end = body.rfind(b"\r\n" + delimiter)
    if not boundary or start < 0 or head_end < 0 or end < head_end:
        raise damaged("the answer of the PACS holds no object")
    content = body[head_end + 4 : end]
    second = content.find(b"\r\n" + delimiter)
    return content if second < 0 else content[:second]


def _first(answer: Mapping[str, Any], tag: str) -> str:
    """Return the first value of an element of DICOM JSON (PS3.18, annex F) as text; empty without one."""
    element = answer.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values and values[0] is not None else ""
