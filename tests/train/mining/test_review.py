from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from boneage.errors import RecipeError
from boneage.train.mining.records import radiograph_cache
from boneage.train.mining.review import TILE_HEIGHT, TILE_WIDTH, ReviewServer, ReviewSession
from boneage.train.mining.state import read_masks, read_settings
from boneage.train.mining.tiles import choose_masks
from tests.train.mining.minings import add_pending, begin_mining

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def mining(tmp_path: Path, table: Path) -> Path:
    """With five pending masks; in the order of uncertainty 6, 8, 7, 9, 5."""
    folder = begin_mining(tmp_path, table)
    add_pending(folder, {"5": 0.1, "6": 0.5, "7": 0.3, "8": 0.4, "9": 0.2})
    return folder


@pytest.fixture
def server(mining: Path) -> Iterator[ReviewServer]:
    cache = radiograph_cache(mining, list(read_settings(mining).read_radiographs().values()))
    pending = choose_masks(read_masks(mining), "pending", seed=0)
    with ReviewServer(ReviewSession(mining, pending, cache, page_size=3)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: ReviewServer,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    *,
    token: str | None = None,
) -> tuple[HTTPResponse, bytes]:
    """GET, or POST with a body."""
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    sent = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
    where = f"/{server.token if token is None else token}/{path}"
    connection.request("GET" if sent is None else "POST", where, sent, headers or (JSON if sent is not None else {}))
    response = connection.getresponse()
    try:
        return response, response.read()
    finally:
        connection.close()


def statuses(mining: Path) -> dict[str, str]:
    return {
        radiograph_id: mask.status.value
        for radiograph_id, mask in read_masks(mining).items()
        if radiograph_id in "56789"
    }


def test_page_loads_nothing_external(server: ReviewServer) -> None:
    assert urlsplit(server.address).hostname == "127.0.0.1"
    response, body = ask(server, "")
    assert response.status == 200
    assert b"http:" not in body
    assert b"https:" not in body
    assert "default-src 'none'" in str(response.getheader("Content-Security-Policy"))


def test_page_shows_radiographs_in_order(server: ReviewServer) -> None:
    first, second = (json.loads(ask(server, f"page/{number}")[1]) for number in (0, 1))
    assert [radiograph["id"] for radiograph in first["radiographs"]] == ["6", "8", "7"]
    assert [radiograph["place"] for radiograph in second["radiographs"]] == [3, 4]
    assert {radiograph["status"] for radiograph in first["radiographs"]} == {"pending"}
    assert (first["pages"], first["counts"]["radiographs"], first["counts"]["pending"]) == (2, 5, 5)


def test_save_page_writes_table(server: ReviewServer, mining: Path) -> None:
    response, body = ask(server, "page/0", {"discarded": [1]})
    assert response.status == 200
    assert json.loads(body)["counts"] == {"radiographs": 5, "pending": 2, "accepted": 2, "discarded": 1}
    assert statuses(mining) == {"6": "accepted", "8": "discarded", "7": "accepted", "9": "pending", "5": "pending"}
    shown = json.loads(ask(server, "page/0")[1])["radiographs"]
    assert [radiograph["status"] for radiograph in shown] == ["accepted", "discarded", "accepted"]


def test_save_page_again_changes_decisions(server: ReviewServer, mining: Path) -> None:
    ask(server, "page/0", {"discarded": [0, 1, 2]})
    ask(server, "page/0", {"discarded": [2]})
    assert statuses(mining) == {"6": "accepted", "8": "accepted", "7": "discarded", "9": "pending", "5": "pending"}


def test_tile_has_its_size(server: ReviewServer) -> None:
    response, body = ask(server, "tile/4")
    assert response.getheader("Content-Type") == "image/jpeg"
    picture = np.asarray(cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR))
    assert picture.shape == (TILE_HEIGHT, TILE_WIDTH, 3)
    assert ask(server, "tile/4")[1] == body
    assert len(ask(server, "large/4")[1]) > len(body)


@pytest.mark.parametrize("path", ["page/2", "tile/5", "large/99", "page/-1", "nothing", "tile/../0", "page/1/x"])
def test_unknown_paths_not_found(server: ReviewServer, path: str) -> None:
    assert ask(server, path)[0].status == 404


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({}, "guessed"),
        ({}, ""),
        ({"Host": "evil.example"}, None),  # another name that leads to this machine
        ({"Origin": "http://evil.example"}, None),
    ],
)
def test_requests_of_other_pages_rejected(
    server: ReviewServer, mining: Path, headers: dict[str, str], token: str | None
) -> None:
    bodies: list[Any] = [None, {"discarded": []}]
    for body in bodies:
        assert ask(server, "page/0", body, {**JSON, **headers}, token=token)[0].status == 404
    assert set(statuses(mining).values()) == {"pending"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        ({"discarded": ["6"]}, 400),
        ({"discarded": [True]}, 400),
        ({"accepted": [1]}, 400),
        ({"discarded": [3]}, 404),  # a row of another page
    ],
)
def test_save_rejects_invalid_decisions(server: ReviewServer, mining: Path, body: Any, status: int) -> None:
    response, answer = ask(server, "page/0", body)
    assert response.status == status
    assert json.loads(answer)["error"]
    assert set(statuses(mining).values()) == {"pending"}


def test_save_rejects_large_body_unread(server: ReviewServer, mining: Path) -> None:
    """A body that is too large is rejected before it is read."""
    headers = {"Content-Type": "application/json", "Content-Length": str(2**20 + 1)}
    assert ask(server, "page/0", b"{", headers)[0].status == 413
    assert set(statuses(mining).values()) == {"pending"}


def test_save_rejects_forms(server: ReviewServer) -> None:
    headers = {"Content-Type": "text/plain"}
    assert ask(server, "page/0", b'{"discarded": []}', headers)[0].status == 415


def test_save_rejects_replaced_mask(server: ReviewServer, mining: Path) -> None:
    """A mask that was replaced since it was shown is not accepted."""
    add_pending(mining, {"8": 0.0}, number=2)
    response, answer = ask(server, "page/0", {"discarded": []})
    assert response.status == 409
    assert "round 2" in json.loads(answer)["error"]
    assert set(statuses(mining).values()) == {"pending"}


def test_tile_reports_unreadable_radiograph(server: ReviewServer, mining: Path) -> None:
    (mining / read_masks(mining)["6"].mask).write_bytes(b"no picture")
    assert ask(server, "tile/0")[0].status == 409


def test_review_server_port_in_use(server: ReviewServer) -> None:
    with pytest.raises(RecipeError) as raised:
        ReviewServer(server.session, server.server_port)
    assert raised.value.code == "recipe_invalid"
