"""Steps on a radiograph that do not depend on the sex of the patient: the hand, the views of the networks, the quality.

A radiograph that is read for both sexes is prepared once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import Member
from boneage.bundle.quality import QualityLabel
from boneage.checks.detail import Detail
from boneage.explain import display_picture
from boneage.hand.bones import BONES, Unreadable, cut_bones
from boneage.hand.borders import InnerPicture, inner_window
from boneage.hand.outlines import Outline, trace_outlines
from boneage.hand.registration import Hand, Region, share_on_radiograph
from boneage.hand.views import GreyRule, GreyScale, ViewSpec, cut_view, grey_scale, hand_levels, measure_grey
from boneage.image_pyramid import ImagePyramid
from boneage.reading.radiograph import Radiograph

_LEAST_ON_RADIOGRAPH = 0.7
"""Least share of a region's box that the radiograph must show. Below it the region's networks guess: the 11 of 3,853
radiographs that show less of region E have twice the error."""


def needs_hand(bundle: Bundle, members: Sequence[Member]) -> bool:
    """Return whether the hand is located: the bundle has networks for it, or one of the members needs it."""
    return bundle.finds_hands or any(member.view.needs_hand for member in members)


class PreparedRadiograph:
    """A radiograph with its hand. Views, grey levels, quality and picture are computed once, when first needed.

    Attributes:
        radiograph: the radiograph as read.
        pyramid: its pixels with their reduced copies.
        hand: the hand that the bundle located; None from a bundle that does not locate hands.
        window: window within the radiograph's even borders (`boneage.hand.borders`).
        unreadable: reason why a bone cannot be read, by its name; empty until a view of bones is cut.
    """

    def __init__(self, radiograph: Radiograph, bundle: Bundle, members: Sequence[Member]) -> None:
        """Locate the hand, if it is needed (`needs_hand`).

        Args:
            radiograph: result of `boneage.reading.radiograph.read_radiograph`.
            bundle: an opened bundle.
            members: networks of the bundle that will read the radiograph.

        Raises:
            Rejection, BundleError: same as in `boneage.bundle.bundle.Bundle.find_hand`.
        """
        self.radiograph, self._bundle = radiograph, bundle
        self.pyramid = ImagePyramid(radiograph.pixels)
        self._views: dict[ViewSpec, NDArray[np.float32]] = {}
        self._greys: dict[GreyRule, GreyScale] = {}
        self.unreadable: dict[str, Unreadable] = {}
        self.hand: Hand | None = None
        if needs_hand(bundle, members):
            inner = InnerPicture.of(self.pyramid)
            self.window, self.hand = inner.window, bundle.find_hand(self.pyramid, inner)
        else:
            self.window = inner_window(self.pyramid)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (H, W) of the radiograph, pixels."""
        return self.pyramid.shape

    @cached_property
    def levels(self) -> NDArray[np.float32] | None:
        """Grey levels of the hand (`boneage.hand.views.hand_levels`); None without a hand."""
        return None if self.hand is None else hand_levels(self.pyramid, self.hand)

    @cached_property
    def quality(self) -> dict[QualityLabel, float]:
        """Probability, 0..1, of each disturbance; empty without a hand or a quality network."""
        if self.hand is None or not self._bundle.manifest.quality:
            return {}
        return self._bundle.judge_quality(self.pyramid, self.hand, self.window)

    @cached_property
    def detail(self) -> Detail | None:
        """Measures of lost detail; None without a hand."""
        return None if self.hand is None else Detail.of(self.pyramid, self.hand, self.grey("hand"))

    @cached_property
    def picture(self) -> NDArray[np.uint8]:
        """The radiograph as it is drawn (`boneage.explain.display_picture`), bone bright, uint8 (h, w)."""
        return bone_bright(display_picture(self.pyramid), self.hand)

    @cached_property
    def outlines(self) -> dict[str, tuple[Outline, ...]]:
        """Outlines of epiphyses and carpal bones on the radiograph by the bone's name; empty without their network."""
        spec = self._bundle.outline_spec
        if spec is None or self.hand is None:
            return {}
        bones = cut_bones(self.pyramid, spec, self.hand, self.grey(spec.grey))
        return trace_outlines(self._bundle.run_outlines(bones.view), spec, self.hand, bones.unreadable)

    def views(self, members: Sequence[Member]) -> dict[ViewSpec, NDArray[np.float32]]:
        """Return the views that the members read, each float32 (h, w).

        Raises:
            Rejection: ``no_contrast``.
        """
        specs = dict.fromkeys(member.view for member in members)
        return {spec: self._view(spec) for spec in specs}

    def _view(self, spec: ViewSpec) -> NDArray[np.float32]:
        if spec not in self._views and spec.region == "bones" and self.hand is not None:
            bones = cut_bones(self.pyramid, spec, self.hand, self.grey(spec.grey))
            self._views[spec], self.unreadable = bones.view, bones.unreadable
        elif spec not in self._views:
            self._views[spec] = cut_view(self.pyramid, spec, hand=self.hand, grey=self.grey(spec.grey))
        return self._views[spec]

    def grey(self, rule: GreyRule) -> GreyScale:
        """Return the grey scale of the radiograph by a rule.

        Raises:
            Rejection: ``no_contrast``.
        """
        if rule not in self._greys:
            of_hand = self.levels if rule == "hand" else None
            self._greys[rule] = (
                measure_grey(self.pyramid, rule, self.hand) if of_hand is None else grey_scale(of_hand, rule)
            )
        return self._greys[rule]

    def shown(self, members: Sequence[Member]) -> tuple[tuple[Member, ...], list[Region]]:
        """Return the members whose regions the radiograph shows, and the regions of those that are left out.

        Networks of the whole hand or radiograph always run, and in a bundle without such networks all run. Networks of
        single bones leave out bones by themselves, and do not run if more than half of the bones cannot be read.

        Raises:
            Rejection: ``no_contrast``.
        """
        members = self._with_bones(members)
        wider = {"A", "radiograph", "bones"}
        regions = list(dict.fromkeys(member.view.region for member in members))
        if self.hand is None or not wider & set(regions):
            return tuple(members), []
        cut_off = [
            one
            for one in regions
            if one not in wider and share_on_radiograph(one, self.hand, self.shape) < _LEAST_ON_RADIOGRAPH
        ]
        return tuple(member for member in members if member.view.region not in cut_off), cut_off

    def _with_bones(self, members: Sequence[Member]) -> tuple[Member, ...]:
        """Return the members without those of single bones, if too few bones can be read and there are others."""
        others = tuple(member for member in members if member.view.region != "bones")
        self.views([member for member in members if member.view.region == "bones"])
        return others if others and len(self.unreadable) > len(BONES) / 2 else tuple(members)


def bone_bright(picture: NDArray[np.uint8], hand: Hand | None) -> NDArray[np.uint8]:
    """Return a drawn radiograph (h, w), inverted if bone is dark on it."""
    return np.uint8(255) - picture if hand is not None and hand.inverted else picture


class StepClock:
    """Wall time by step, milliseconds."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._steps: dict[str, float] = {}

    def fork(self) -> StepClock:
        """Return a clock that has timed the same steps, and goes on as if nothing else had run since."""
        other = StepClock()
        other._start = time.perf_counter() - sum(self._steps.values()) / 1e3
        other._steps = dict(self._steps)
        return other

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block as a step."""
        start = time.perf_counter()
        yield
        self._steps[name] = 1e3 * (time.perf_counter() - start)

    def timings_ms(self) -> dict[str, float]:
        """Return the wall time of each step, and ``total``, milliseconds."""
        return {**self._steps, "total": 1e3 * (time.perf_counter() - self._start)}
