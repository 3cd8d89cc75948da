"""The view of a network for ages: one part of the radiograph, or its bones in tiles."""

from __future__ import annotations

from boneage.arrays import Image
from boneage.hand.bones import cut_bones
from boneage.hand.registration import Hand
from boneage.hand.views import GreyScale, ViewSpec, cut_view, measure_grey
from boneage.image_pyramid import ImageSource


def cut_member_view(
    source: ImageSource, spec: ViewSpec, *, hand: Hand | None = None, grey: GreyScale | None = None
) -> Image:
    """Cut the view of a network for ages from a radiograph, as in serving.

    Args:
        source: radiograph, float32 (H, W), 0..1, or its pyramid.
        spec: specification of the view.
        hand: hand on the radiograph, with its joints for views of bones.
        grey: grey scale of the radiograph; measured by the view's rule if not given.

    Raises:
        Rejection: ``no_contrast``, as in `boneage.hand.views.measure_grey`.
        ValueError: The view needs a hand or joints, and there are none.
    """
    if spec.region != "bones":
        return cut_view(source, spec, hand=hand, grey=grey)
    if hand is None:
        raise ValueError("the region bones needs a hand")
    return cut_bones(source, spec, hand, grey or measure_grey(source, spec.grey, hand)).view
