"""Load test of the service: users send a radiograph, wait for its result, and send the next one.

    python benchmarks/service_load.py --users 1 --seconds 60 --bundle residual    # time from upload to result
    python benchmarks/service_load.py --users 20 --seconds 300 --out out/load     # errors, queue, times, plotted

Users send the requests of a browser: the page with the form, the form with the radiograph (drawn, 2,000 x 1,500 pixels,
or --radiograph), the page of the result, its polls, and finally the radiograph and the heat map. They do not request
cached files (styles, scripts). Chromium measures the size of the whole page once.

The exit status is 1 if an answer was wrong.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from service_process import Answered, Browser, Service, csrf_token, drawn_radiograph, made_atlas, serving

LONGEST_SECONDS = 120
QUEUE_LOOK_SECONDS = 0.5
PERCENTILES = (50, 90, 95, 99, 100)

_POLL = re.compile(r'hx-get="([^"]+)" hx-trigger="every (\d+)ms"')


@dataclass
class Load:
    """Measurements of a load test, seconds.

    Attributes:
        ends: Times of the results since the beginning.
        taken: Times between sending a radiograph and its entry in the queue.
        result: Times between sending a radiograph and its result.
        shown: Times between sending a radiograph and the display of radiograph and heat map.
        errors: Number of errors by message.
        queue: Times, with the number of waiting and running assessments.
        seconds: Duration of the test.
    """

    ends: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)
    result: list[float] = field(default_factory=list)
    shown: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    queue: list[tuple[float, int]] = field(default_factory=list)
    seconds: float = 0.0


class WrongAnswerError(Exception):
    """Wrong answer of the service."""


class User:
    """User with a browser."""

    def __init__(self, service: Service, radiograph: Callable[[], bytes]) -> None:
        self._browser = Browser(service.host, service.port)
        self._radiograph = radiograph
        self._token = ""
        self.last_result = ""

    def open_page(self) -> None:
        """Open the page with the form."""
        self._token = csrf_token(_wanted(self._browser.get("/"), 200))

    def send_and_follow(self) -> tuple[float, float, float]:
        """Send a radiograph, and return the seconds until it was queued, until its result, and until its display."""
        radiograph = self._radiograph()
        begun = time.monotonic()
        answer = self._browser.post_radiograph(
            "/assessments/", radiograph, {"sex": "F"}, {"Accept": "application/json", "X-CSRFToken": self._token}
        )
        self.last_result = str(_wanted(answer, 201).json()["result"])
        taken = time.monotonic() - begun
        self._follow(begun)
        result = time.monotonic() - begun
        for name in ("radiograph.jpg", "heat.png"):
            _wanted(self._browser.get(self.last_result + name), 200)
        return taken, result, time.monotonic() - begun

    def _follow(self, begun: float) -> None:
        page = _wanted(self._browser.get(self.last_result), 200).text
        while polled := _POLL.search(page):
            if time.monotonic() - begun > LONGEST_SECONDS:
                raise WrongAnswerError(f"no result after {LONGEST_SECONDS} s")
            time.sleep(int(polled[2]) / 1000)
            answered = self._browser.get(polled[1].replace("&amp;", "&"), {"HX-Request": "true"})
            if answered.status != 204:
                page = _wanted(answered, 200, 286).text
        if "radiograph.jpg" not in page:
            raise WrongAnswerError("the radiograph was not assessed")


def _wanted(answered: Answered, *statuses: int) -> Answered:
    if answered.status not in statuses:
        raise WrongAnswerError(f"status {answered.status}")
    return answered


def load(service: Service, users: int, seconds: float, radiograph: Callable[[], bytes]) -> Load:
    """Run a number of users for a number of seconds; each finishes its current radiograph."""
    measured, begun, lock = Load(), time.monotonic(), threading.Lock()

    def use() -> None:
        user = User(service, radiograph)
        while time.monotonic() - begun < seconds:
            try:
                if not user.last_result:
                    user.open_page()
                times = user.send_and_follow()
            except (WrongAnswerError, OSError, http.client.HTTPException, RuntimeError) as error:
                with lock:
                    measured.errors[f"{type(error).__name__}: {error}"] += 1
                time.sleep(1)
                continue
            with lock:
                measured.ends.append(time.monotonic() - begun)
                for kept, one in zip((measured.taken, measured.result, measured.shown), times, strict=True):
                    kept.append(one)

    threads = [threading.Thread(target=use) for _ in range(users)]
    for thread in threads:
        thread.start()
        time.sleep(min(0.05, seconds / users))
    monitor = Browser(service.host, service.port)
    while any(thread.is_alive() for thread in threads):
        waiting = monitor.get("/health").json().get("waiting")
        measured.queue.append((time.monotonic() - begun, int(str(waiting)) if waiting is not None else -1))
        time.sleep(QUEUE_LOOK_SECONDS)
    measured.seconds = time.monotonic() - begun
    return measured


def weigh(service: Service, path: str, chromium: str) -> dict[str, int]:
    """Return the bytes that Chromium fetches for a page with an empty cache, by address."""
    from playwright.sync_api import Response, sync_playwright  # noqa: PLC0415 - only with Chromium

    weights: dict[str, int] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        responses: list[Response] = []
        page.on("response", lambda response: responses.append(response))  # noqa: PLW0108 - playwright marks it
        page.goto(f"http://{service.host}:{service.port}{path}", wait_until="networkidle")
        for response in responses:
            sizes = response.request.sizes()
            weights[urlsplit(response.url).path] = sizes["responseBodySize"] + sizes["responseHeadersSize"]
        browser.close()
    return weights


def plot(measured: Load, path: Path, title: str) -> None:
    """Plot queue, times and throughput against time as PNG."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (above, below) = plt.subplots(2, 1, figsize=(10, 6.5), sharex=True, layout="constrained")
    times, depths = zip(*measured.queue, strict=True)
    above.plot(times, depths, lw=1, color="#1f6feb")
    above.set(ylabel="radiographs waiting or being assessed", title=title, ylim=(0, None))
    below.plot(measured.ends, measured.result, ".", ms=3, color="#888888", label="each radiograph")
    middles, medians, highest = _windows(np.array(measured.ends), np.array(measured.result))
    below.plot(middles, medians, color="#1f6feb", label="median of 10 s")
    below.plot(middles, highest, color="#d1242f", label="95th percentile of 10 s")
    below.set(xlabel="seconds", ylabel="upload to result, s", ylim=(0, None))
    below.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, frameon=False)
    above.yaxis.get_major_locator().set_params(integer=True)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _windows(ends: NDArray[np.float64], times: NDArray[np.float64]) -> tuple[list[float], list[float], list[float]]:
    """Return the centre, the median and the 95th percentile of each 10 s with radiographs."""
    rows = [(start + 5.0, times[(ends >= start) & (ends < start + 10)]) for start in np.arange(0, ends.max() + 1, 10)]
    full = [(middle, inside) for middle, inside in rows if len(inside)]
    return (
        [middle for middle, _ in full],
        [float(np.median(inside)) for _, inside in full],
        [float(np.percentile(inside, 95)) for _, inside in full],
    )


def _print(measured: Load, users: int) -> None:
    radiographs = len(measured.result)
    print(
        f"{users} users, {measured.seconds:.0f} s: {radiographs} radiographs, {radiographs / measured.seconds:.2f} "
        f"radiographs a second, ",
        end="",
    )
    print(f"{sum(measured.errors.values())} errors.")
    for answer, times in measured.errors.most_common(10):
        print(f"    {times} x {answer}")
    if not radiographs:
        return
    print(f"Most radiographs in the queue: {max(depth for _, depth in measured.queue)}.\n")
    print("| seconds from sending the radiograph | " + " | ".join(f"{one}%" for one in PERCENTILES) + " |")
    print("|---|" + "---:|" * len(PERCENTILES))
    rows = {
        "until it is in the queue": measured.taken,
        "until its result": measured.result,
        "until radiograph and heat map": measured.shown,
    }
    for name, seconds in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in np.percentile(seconds, PERCENTILES)) + " |")


def _print_weights(weights: dict[str, int]) -> None:
    without = {path: size for path, size in weights.items() if not path.endswith("radiograph.jpg")}
    print(
        f"\nThe result's page without the radiograph: {sum(without.values()) / 1000:.0f} kB"
        f" in {len(without)} answers.\n"
    )
    print("| of it | kB |\n|---|---:|")
    for path, size in sorted(without.items(), key=lambda item: -item[1]):
        print(f"| {re.sub(r'[0-9a-f-]{36}', '…', path)} | {size / 1000:.1f} |")


def _radiograph(given: Path | None) -> Callable[[], bytes]:
    if given is not None:
        data = given.read_bytes()
        return lambda: data
    drawn = drawn_radiograph(0, 2000, 1500)
    return lambda: drawn


def main() -> int:
    """Measure, print and plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--atlas", default="", help="name or folder of the atlas; by default a drawn one")
    parser.add_argument("--database", default="", help="URL of an empty database; by default SQLite")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--radiograph", type=Path)
    parser.add_argument("--port", type=int, default=8106)
    parser.add_argument(
        "--chromium", default=shutil.which("chromium") or "", help="path of Chromium, which measures the page"
    )
    parser.add_argument("--out", type=Path, help="folder for the plot and the numbers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        atlas = given.atlas or str(made_atlas(Path(folder) / "atlas"))
        options = {"bundle": given.bundle, "atlas": atlas, "workers": str(given.workers), "store": f"{folder}/store"}
        environment = {"BONEAGE_MODE": "open", "BONEAGE_OPEN_HOURLY": "0", "BONEAGE_DATABASE": given.database}
        radiograph = _radiograph(given.radiograph)
        with serving(options, environment, given.port) as service:
            first = User(service, radiograph)
            first.open_page()
            first.send_and_follow()  # loads all files that are loaded once
            measured = load(service, given.users, given.seconds, radiograph)
            weights = weigh(service, first.last_result, given.chromium) if given.chromium else {}
        faults = [line for line in service.log if " ERROR " in line or "Traceback" in line]
    kind = "PostgreSQL" if given.database else "SQLite"
    print(f"Bundle {given.bundle}, {given.workers} workers, {kind}, radiograph of {len(radiograph()) / 1e6:.1f} MB.\n")
    _print(measured, given.users)
    if weights:
        _print_weights(weights)
    for line in faults[:20]:
        print(f"log: {line}")
    if given.out is not None and measured.result:
        given.out.mkdir(parents=True, exist_ok=True)
        plot(
            measured,
            given.out / "load.png",
            f"{given.users} users, bundle {given.bundle}, {given.workers} workers, {kind}",
        )
        (given.out / "load.json").write_text(json.dumps(measured.__dict__ | {"weights": weights}), encoding="utf-8")
    return 1 if measured.errors or faults or not measured.result else 0


if __name__ == "__main__":
    sys.exit(main())
