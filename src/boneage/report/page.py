"""Page and overlay of an assessment: files of their own, for people."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from boneage import words
from boneage.assessment import Assessment
from boneage.explain import Evidence, HeatMap, encode_picture, mark_epiphyses, mark_hand, overlay, scale_colours
from boneage.file_names import shown
from boneage.report.both_sexes import Assessed, BothSexesContent, content_of, readings_of
from boneage.report.content import ReadingContent, ReportContent
from boneage.report.page_template import PAGE
from boneage.words import gettext, marked

_WARM_STEPS = 9


@dataclass(frozen=True)
class Lines:
    """Lines on the pictures of a report.

    Attributes:
        hand: the outline of the hand, its key points and the boxes of the regions.
        epiphyses: the outlines of the epiphyses and the carpal bones.
    """

    hand: bool = True
    epiphyses: bool = False

    def on(self, assessment: Assessment) -> Lines:
        """Return the lines that an assessment has."""
        has_outlines = any(bone.outlines_xy for bone in assessment.bones)
        return Lines(self.hand and assessment.hand is not None, self.epiphyses and has_outlines)


HAND_LINES = Lines()
"""Lines of a report that nobody chose."""


def overlay_png(assessed: Assessed, evidence: Evidence = "both", *, lines: Lines = HAND_LINES) -> bytes:
    """Return the radiograph with its heat map, the colour scale and lines, as PNG.

    A radiograph that was read for both sexes has two such pictures side by side, that for girls first.
    """
    pictures = []
    for reading in readings_of(assessed):
        drawn = overlay(reading.picture, reading.heat_map(evidence=evidence))
        width = reading.picture.shape[1]  # the colour scale stands beside the radiograph
        pictures += [_marked(reading, drawn[:, :width], lines), drawn[:, width:]]
    return encode_picture(".png", np.hstack(pictures))


def _marked(assessment: Assessment, drawn: NDArray[np.uint8], lines: Lines) -> NDArray[np.uint8]:
    """Draw lines on the radiograph's picture."""
    shown, to_picture = lines.on(assessment), assessment.radiograph_to_picture
    if shown.epiphyses:
        outlines = [outline for bone in assessment.bones for outline in bone.outlines_xy]
        drawn = mark_epiphyses(drawn, outlines, to_picture)
    if shown.hand and assessment.hand is not None:
        drawn = mark_hand(drawn, assessment.hand, to_picture, assessment.regions)
    return drawn


def page(
    assessed: Assessed,
    *,
    created: datetime | None = None,
    evidence: Evidence = "both",
    lines: Lines = HAND_LINES,
) -> str:
    """Return one self-contained A4 page in HTML: estimate, warnings, radiograph and overlay, facts.

    Everything that comes from a file is escaped, and the page forbids itself scripts and any network.

    Args:
        assessed: assessment to show.
        created: date and time to print; now if not given.
        evidence: evidence of the heat map; see `boneage.explain.HeatMap.of`.
        lines: lines on the heat map, as far as the assessment has them.
    """
    name = assessed.source_name or gettext("radiograph")
    content = content_of(assessed)
    return PAGE.substitute(
        language=escape(words.language().replace("_", "-")),
        title=escape(f"{content.title}: {name}"),
        heading=escape(content.title),
        name=escape(name),
        created=escape(words.moment(created or datetime.now().astimezone())),
        answer=_answer_html(content),
        warnings=_warnings_html(content),
        pictures=_pictures_html(assessed, evidence, lines),
        facts="".join(f"<div><dt>{escape(term)}</dt><dd>{escape(value)}</dd></div>" for term, value in content.facts),
        notice=escape(" ".join(content.notice)),
        intended_use=escape(" ".join(content.intended_use)),
        map_note=escape(gettext(_MAP_NOTES[evidence])),
        reader="".join(f"<span>{escape(gettext(term))}</span>" for term in _BY_HAND),
    )


def escape(text: str) -> str:
    """Return a text for HTML, with what is unsafe to print replaced."""
    return html.escape(shown(text))


def _answer_html(content: ReportContent | BothSexesContent) -> str:
    if isinstance(content, ReportContent):
        return "\n".join(_reading_html(content.readings[0]))
    columns = (
        "\n".join([f"<div><h2>{escape(one.heading)}</h2>", *_reading_html(one), "</div>"]) for one in content.readings
    )
    below = (f"<p>{escape(line)}</p>" for line in (content.chronological_age, content.explanation) if line)
    return "\n".join(['<div class="both">', *columns, "</div>", *below])


def _reading_html(reading: ReadingContent) -> list[str]:
    lines = [f'<p class="age{" void" if reading.is_void else ""}">{escape(reading.age)}</p>']
    lines += [f'<p class="stamp">{escape(reading.stamp)}</p>'] if reading.stamp else []
    lines += [f"<p>{escape(line)}</p>" for line in reading.lines]
    for title, rows in ((gettext("Bone age by region"), reading.regions), (gettext("Bone age by bone"), reading.bones)):
        items = "".join(f"<li>{escape(name)}: {escape(age)}</li>" for name, age in rows)
        if items:
            lines.append(f'<ul class="regions" aria-label="{escape(title)}">{items}</ul>')
    return lines


def _warnings_html(content: ReportContent | BothSexesContent) -> str:
    """Return a section for each severity, the gravest first."""
    sections = []
    for group in content.warnings:
        items = "".join(f"<li>{escape(sentence)}</li>" for sentence in group.sentences)
        title = escape(group.title)
        head = f'<section class="warnings {group.severity.value}" aria-label="{title}"><h2>{title}</h2>'
        sections.append(f"{head}<ul>{items}</ul></section>")
    return "\n".join(sections)


def _pictures_html(assessed: Assessed, evidence: Evidence, lines: Lines) -> str:
    readings = readings_of(assessed)
    radiograph = _data_uri(readings[0].picture)
    figures = [_figure(radiograph, gettext("The radiograph"), gettext("Radiograph (windowed for display)"))]
    maps = [(reading, reading.heat_map(evidence=evidence)) for reading in readings]
    for reading, heat in maps:
        if not heat.is_empty:
            figures.append(_map_figure(reading, heat, evidence, lines, names_sex=len(readings) > 1))
    if all(heat.is_empty for _, heat in maps):
        if caption := _caption(readings[0], lines):
            outlined = _data_uri(_marked(readings[0], readings[0].picture, lines))
            figures.append(_figure(outlined, gettext("The radiograph with the outline of the hand"), caption))
        figures.append(f"<p>{escape(gettext(_NO_MAP[evidence]))}</p>")
    return "\n".join(figures)


def _map_figure(reading: Assessment, heat: HeatMap, evidence: Evidence, lines: Lines, *, names_sex: bool) -> str:
    """Return the figure of a heat map; with `names_sex` the caption states for which sex it is."""
    tinted = _marked(reading, overlay(reading.picture, heat, scale_bar=False), lines)
    captions = [words.heat_map(evidence)]
    captions += [words.sex(reading.sex)] if names_sex else []
    captions += [caption] if (caption := _caption(reading, lines)) else []
    return _figure(_data_uri(tinted), gettext("The radiograph with the heat map"), " · ".join(captions), _scale_html())


def _caption(reading: Assessment, lines: Lines) -> str:
    """Return the explanation of the lines that an assessment has; empty without lines."""
    shown = lines.on(reading)
    of_hand = [gettext(_LINES if reading.boxed_regions else _LINES_WITHOUT_REGIONS)] if shown.hand else []
    return " · ".join([*of_hand, *([gettext(_EPIPHYSES)] if shown.epiphyses else [])])


def _figure(uri: str, alternative: str, caption: str, below: str = "") -> str:
    caption_html = f"<figcaption>{escape(caption)}{below}</figcaption>"
    return f'<figure><img src="{uri}" alt="{escape(alternative)}">{caption_html}</figure>'


def _scale_html() -> str:
    stops = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in scale_colours(_WARM_STEPS))
    ramp = f'<i style="background: linear-gradient(to right, {stops})"></i>'
    younger, older = escape(gettext("younger")), escape(gettext("older"))
    return f'<span class="scale">{younger} {ramp} {older}</span>'


def _data_uri(picture: NDArray[np.uint8]) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(encode_picture(".jpg", picture)).decode("ascii")


_BY_HAND = (marked("Reader's bone age"), marked("Reason, if it differs"), marked("Date, signature"))
"""Terms that a reader fills in by hand on the printed page."""

_LINES = marked("Lines: outline, key points and regions of the hand")
_LINES_WITHOUT_REGIONS = marked("Lines: outline and key points of the hand")
"""Caption for a bundle that reads single bones or the whole radiograph only."""

_EPIPHYSES = marked("Violet lines: epiphyses and carpal bones")

_NO_MAP: dict[Evidence, str] = {
    "both": marked("There is no heat map: no place of the radiograph influenced the estimate."),
    "raising": marked("There is no heat map: no place of the radiograph raised the estimate."),
}
_MAP_NOTES: dict[Evidence, str] = {
    "both": marked("The heat map shows which places raised or lowered the estimate, not whether it is right."),
    "raising": marked("The heat map shows which places raised the estimate, not whether it is right."),
}
