"""Local page on which a person accepts and discards masks by the keyboard, several radiographs a second.

The page is served to this machine only, under an address with a secret, and loads nothing from elsewhere. The decisions
on a page are one change of the mining's table: saved decisions remain, however the server ends.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import cv2

from boneage.arrays import ByteImage
from boneage.errors import BoneageError, RecipeError
from boneage.train.data.cache import RadiographCache
from boneage.train.mining.state import RadiographMask, Status, decide, read_masks
from boneage.train.mining.tiles import radiograph_tile

log = logging.getLogger(__name__)

TILE_HEIGHT, TILE_WIDTH = 300, 240
"""Size of a radiograph on the page, pixels; the person may scale it."""

LARGE_HEIGHT, LARGE_WIDTH = 1000, 800
"""Size of the enlarged radiograph, pixels."""

_TILES_KEPT = 600
_LARGEST_REQUEST = 2**20
_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ReviewSession:
    """Fixed order of radiographs, in pages, from one start of the server.

    Args:
        folder: folder of the mining.
        masks: masks to show, in order.
        cache: decoded radiographs.
        page_size: number of radiographs per page.
    """

    def __init__(self, folder: Path, masks: Sequence[RadiographMask], cache: RadiographCache, page_size: int) -> None:
        self.folder, self.cache, self.page_size = folder, cache, page_size
        self.masks = [mask for mask in masks if mask.id in cache]
        self.rounds = {mask.id: mask.round for mask in self.masks if mask.round is not None}
        self._tiles: OrderedDict[tuple[int, bool], bytes] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def pages(self) -> int:
        """Number of pages."""
        return -(-len(self.masks) // self.page_size)

    def page(self, number: int) -> dict[str, Any]:
        """Return the contents of a page, counted from 0: its radiographs with their decisions, and the counts.

        Raises:
            IndexError: There is no such page.
        """
        now = read_masks(self.folder)
        places = self._places(number)
        radiographs = [
            {
                "place": place,
                "id": mask.id,
                "round": mask.round,
                "uncertainty": mask.uncertainty,
                "status": now[mask.id].status.value if mask.id in now else "gone",
            }
            for place, mask in zip(places, self.masks[places.start : places.stop], strict=True)
        ]
        return {"page": number, "pages": self.pages, "radiographs": radiographs, "counts": self._counts(now)}

    def save(self, number: int, discarded: Sequence[int]) -> dict[str, Any]:
        """Discard the radiographs at these places of a page, accept its others, and return the counts.

        Raises:
            IndexError: There is no such page, or a place is not on it.
            TableError: see `boneage.train.mining.state.decide`.
        """
        places = self._places(number)
        if not set(discarded) <= set(places):
            raise IndexError("a place is not on the page")
        decide(self.folder, {self.masks[place].id: place not in discarded for place in places}, self.rounds)
        return self._counts(read_masks(self.folder))

    def tile(self, place: int, *, large: bool = False) -> bytes:
        """Return the radiograph at a place, as JPEG.

        Raises:
            IndexError: There is no such place.
            TableError: Radiograph or mask cannot be read.
        """
        if not 0 <= place < len(self.masks):
            raise IndexError("no such place")
        with self._lock:
            if (place, large) in self._tiles:
                self._tiles.move_to_end((place, large))
                return self._tiles[place, large]
        size = (LARGE_HEIGHT, LARGE_WIDTH) if large else (TILE_HEIGHT, TILE_WIDTH)
        encoded = _jpeg(radiograph_tile(self.folder, self.masks[place], self.cache, *size))
        with self._lock:
            self._tiles[place, large] = encoded
            while len(self._tiles) > _TILES_KEPT:
                self._tiles.popitem(last=False)
        return encoded

    def _places(self, number: int) -> range:
        if not 0 <= number < self.pages:
            raise IndexError("no such page")
        return range(number * self.page_size, min((number + 1) * self.page_size, len(self.masks)))

    def _counts(self, now: dict[str, RadiographMask]) -> dict[str, int]:
        """Return the number of this session's radiographs by status, and of all radiographs."""
        statuses = [now[mask.id].status for mask in self.masks if mask.id in now]
        chosen = (Status.PENDING, Status.ACCEPTED, Status.DISCARDED)
        return {"radiographs": len(self.masks), **{status.value: statuses.count(status) for status in chosen}}


class ReviewServer(ThreadingHTTPServer):
    """Server of one session on 127.0.0.1.

    Args:
        session: session to serve.
        port: port; 0 for any free one.

    Raises:
        RecipeError: ``recipe_invalid`` if the port is not available.
    """

    daemon_threads = True

    def __init__(self, session: ReviewSession, port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(16)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise RecipeError(
                "recipe_invalid", f"The port {port} is not available: {error}. Choose another one."
            ) from error
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}

    @property
    def address(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Send the page (``/TOKEN/``), its contents (``page/N``), or a radiograph (``tile/N``, ``large/N``)."""
        match self._place():
            case [""]:
                page = resources.files("boneage.train.mining").joinpath("review.html").read_bytes()
                self._send(page, "text/html; charset=utf-8")
            case ["page", number] if number.isdecimal():
                self._try(lambda: self._send_json(self.server.session.page(int(number))))
            case ["tile" | "large" as size, number] if number.isdecimal():
                large = size == "large"
                self._try(
                    lambda: self._send(self.server.session.tile(int(number), large=large), "image/jpeg", kept=True)
                )
            case _:
                self._reject(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        """Save decisions on a page: ``page/N`` with ``{"discarded": [places]}``."""
        self.close_connection = True  # an unread body would be parsed as the next request
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json" or not length.isdecimal():
            self._reject(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "decisions are JSON")
        elif int(length) > _LARGEST_REQUEST:
            self._reject(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too long")
        else:
            body = self.rfile.read(int(length))
            match self._place():
                case ["page", number] if number.isdecimal():
                    self._try(lambda: self._save(int(number), body))
                case _:
                    self._reject(HTTPStatus.NOT_FOUND, "there is no such page")

    def _save(self, number: int, body: bytes) -> None:
        content = json.loads(body)
        discarded = content.get("discarded") if isinstance(content, dict) else None
        if not isinstance(discarded, list) or not all(type(place) is int for place in discarded):
            raise ValueError("discarded must be a list of places")
        self._send_json({"counts": self.server.session.save(number, discarded)})

    def _place(self) -> list[str] | None:
        """Return the parts of the path after the secret; None without the secret, or for requests from another page."""
        parts = self.path.partition("?")[0].split("/")
        origin = self.headers.get("Origin")
        authorised = len(parts) > 2 and secrets.compare_digest(parts[1].encode(), self.server.token.encode())
        local = self.headers.get("Host") in self.server.hosts
        own = origin is None or origin.removeprefix("http://") in self.server.hosts
        return parts[2:] if authorised and local and own else None

    def _try(self, answer: Any) -> None:
        """Send the answer, or the reason of a failure."""
        try:
            answer()
        except IndexError as error:
            self._reject(HTTPStatus.NOT_FOUND, str(error))
        except ValueError as error:
            self._reject(HTTPStatus.BAD_REQUEST, str(error))
        except BoneageError as error:
            self._reject(HTTPStatus.CONFLICT, str(error))
        except OSError as error:
            if not isinstance(error, ConnectionError):  # a lost connection has no recipient
                self._reject(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error.strerror}: {error.filename}")

    def _reject(self, status: HTTPStatus, reason: str) -> None:
        self._send_json({"error": reason}, status)

    def _send_json(self, content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, *, kept: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "private, max-age=3600" if kept else "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Write to the log, without the secret."""
        log.debug("%s", (format % args).replace(self.server.token, "..."))


def _jpeg(picture: ByteImage) -> bytes:
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return encoded.tobytes()
