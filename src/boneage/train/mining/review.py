"""A local page on which a person accepts and discards masks, by the keyboard, several radiographs a second.

The page is served to this machine only, under an address with a secret that other pages do not know, and asks nothing
of anybody else. Each page's decisions are one change of the mining's table: what was saved is there, however the
server ends.
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
"""Of a radiograph on the page, pixels; shown smaller or larger as the person likes."""

LARGE_HEIGHT, LARGE_WIDTH = 1000, 800
"""Of the radiograph that is looked at closely."""

_TILES_KEPT = 600
_LARGEST_REQUEST = 2**20
_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ReviewSession:
    """What one start of the page shows: a fixed order of radiographs, in pages.

    Args:
        folder: of the mining.
        masks: to be shown, in order.
        cache: of the radiographs.
        page_size: radiographs a page.
    """

    def __init__(self, folder: Path, masks: Sequence[RadiographMask], cache: RadiographCache, page_size: int) -> None:
        self.folder, self.cache, self.page_size = folder, cache, page_size
        self.masks = [mask for mask in masks if mask.id in cache]
        self.rounds = {mask.id: mask.round for mask in self.masks if mask.round is not None}
        self._tiles: OrderedDict[tuple[int, bool], bytes] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return -(-len(self.masks) // self.page_size)

    def page(self, number: int) -> dict[str, Any]:
        """What a page shows, counted from 0: its radiographs with what has been decided on each, and the counts.

        Raises:
            IndexError: there is no such page.
        """
        now = read_masks(self.folder)
        places = self._places(number)
        radiographs = [
            {
                "place": place,
                "id": mask.id,
                "round": mask.round,
                "doubt": mask.doubt,
                "status": now[mask.id].status.value if mask.id in now else "gone",
            }
            for place, mask in zip(places, self.masks[places.start : places.stop], strict=True)
        ]
        return {"page": number, "pages": self.pages, "radiographs": radiographs, "counts": self._counts(now)}

    def save(self, number: int, discarded: Sequence[int]) -> dict[str, Any]:
        """Discard the radiographs at these places of a page and accept its others; returns the counts.

        Raises:
            IndexError: there is no such page, or a place is not on it.
            TableError: as `boneage.train.mining.state.decide`.
        """
        places = self._places(number)
        if not set(discarded) <= set(places):
            raise IndexError("a place is not on the page")
        decide(self.folder, {self.masks[place].id: place not in discarded for place in places}, self.rounds)
        return self._counts(read_masks(self.folder))

    def tile(self, place: int, *, large: bool = False) -> bytes:
        """The radiograph at a place, as JPEG.

        Raises:
            IndexError: there is none.
            TableError: radiograph or mask cannot be read.
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
        """Of this session's radiographs by status, and of all."""
        statuses = [now[mask.id].status for mask in self.masks if mask.id in now]
        chosen = (Status.PENDING, Status.ACCEPTED, Status.DISCARDED)
        return {"radiographs": len(self.masks), **{status.value: statuses.count(status) for status in chosen}}


class ReviewServer(ThreadingHTTPServer):
    """Serves one session on 127.0.0.1.

    Args:
        session: what is shown.
        port: to listen on; 0 for any that is free.

    Raises:
        RecipeError: ``recipe_invalid`` if the port cannot be had.
    """

    daemon_threads = True

    def __init__(self, session: ReviewSession, port: int = 0) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(16)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise RecipeError("recipe_invalid", f"The port {port} cannot be had: {error}.") from error
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: ReviewServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """The page (``/TOKEN/``), what a page shows (``page/N``), a radiograph (``tile/N``, ``large/N``)."""
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
        """Decisions on a page: ``page/N`` with ``{"discarded": [places]}``."""
        self.close_connection = True  # a body that is not read would be taken for the next request
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
        said = json.loads(body)
        discarded = said.get("discarded") if isinstance(said, dict) else None
        if not isinstance(discarded, list) or not all(type(place) is int for place in discarded):
            raise ValueError("discarded must be a list of places")
        self._send_json({"counts": self.server.session.save(number, discarded)})

    def _place(self) -> list[str] | None:
        """The parts of the path after the secret; None for whom does not know it or was sent by another page."""
        parts = self.path.partition("?")[0].split("/")
        origin = self.headers.get("Origin")
        known = len(parts) > 2 and secrets.compare_digest(parts[1].encode(), self.server.token.encode())
        local = self.headers.get("Host") in self.server.hosts
        own = origin is None or origin.removeprefix("http://") in self.server.hosts
        return parts[2:] if known and local and own else None

    def _try(self, answer: Any) -> None:
        """Answer, or tell why not."""
        try:
            answer()
        except IndexError as error:
            self._reject(HTTPStatus.NOT_FOUND, str(error))
        except ValueError as error:
            self._reject(HTTPStatus.BAD_REQUEST, str(error))
        except BoneageError as error:
            self._reject(HTTPStatus.CONFLICT, str(error))
        except OSError as error:
            if not isinstance(error, ConnectionError):  # else the page was left: there is nobody to tell
                self._reject(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error.strerror}: {error.filename}")

    def _reject(self, status: HTTPStatus, reason: str) -> None:
        self._send_json({"error": reason}, status)

    def _send_json(self, said: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(said).encode(), "application/json", status)

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
        """Into the log; the secret stays out of it."""
        log.debug("%s", (format % args).replace(self.server.token, "..."))


def _jpeg(picture: ByteImage) -> bytes:
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return encoded.tobytes()
