"""Parts that make a PDF of reportlab a PDF/A-2b (ISO 19005-2): metadata (XMP), output intent, matching dates.

Fonts must be embedded and pictures free of transparency, which `boneage.web.report.pdf` sees to. The document ID in the
trailer is reportlab's own.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import cache
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape

from PIL import ImageCms
from reportlab.pdfbase.pdfdoc import PDFArray, PDFDictionary, PDFName, PDFStream, PDFString
from reportlab.pdfgen.canvas import Canvas

_VERSION = (1, 7)
_PROFILE_NAME = "sRGB IEC61966-2.1"

_ENTRY = re.compile(rb"(\d{10}) 00000 n \n")
_START = re.compile(rb"\nstartxref\n\d+\n")
_STREAM_END = b"endstream\nendobj\n"

_XMP = """\
<?xpacket begin="\N{ZERO WIDTH NO-BREAK SPACE}" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:pdf="http://ns.adobe.com/pdf/1.3/">
   <pdfaid:part>2</pdfaid:part>
   <pdfaid:conformance>B</pdfaid:conformance>
   <dc:format>application/pdf</dc:format>
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
   <dc:creator><rdf:Seq><rdf:li>{author}</rdf:li></rdf:Seq></dc:creator>
   <dc:language><rdf:Bag><rdf:li>{language}</rdf:li></rdf:Bag></dc:language>
   <xmp:CreateDate>{created}</xmp:CreateDate>
   <xmp:ModifyDate>{created}</xmp:ModifyDate>
   <xmp:CreatorTool>{creator}</xmp:CreatorTool>
   <pdf:Producer>{producer}</pdf:Producer>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def make_archivable(canvas: Canvas, created: datetime, language: str) -> None:
    """Give a canvas, before its first page, what PDF/A-2b requires of the document.

    Args:
        canvas: canvas of the document.
        created: aware date and time of creation, for the document's fields and its metadata.
        language: language of the text, as BCP 47.
    """
    document = canvas._doc
    document._pdfVersion = _VERSION
    document.info._dateFormatter = lambda *_date: _pdf_date(created)
    metadata = _Metadata(created, language)
    catalog = document.Catalog
    catalog.Metadata = metadata
    catalog.OutputIntents = PDFArray([document.Reference(_output_intent(document))])
    # Reportlab writes only the keys of this list, and makes references of the second.
    catalog.__NoDefault__ = [*catalog.__NoDefault__, "OutputIntents"]


def with_line_ends(pdf: bytes) -> bytes:
    """Return a PDF of reportlab with a line end before each ``endstream``, which PDF/A requires (6.1.7.1).

    Offsets of the cross-reference table are those of the changed file.

    Args:
        pdf: content of a file that reportlab wrote: one section of cross-references at its end.
    """
    xref = pdf.rindex(b"\nxref\n") + 1
    entries = list(_ENTRY.finditer(pdf, xref))
    offsets = [int(entry[1]) for entry in entries]
    bounds = [*sorted(offsets), xref]
    changed, moved = [pdf[: bounds[0]]], {}
    for start, end in pairwise(bounds):
        moved[start] = sum(map(len, changed))
        one = pdf[start:end]
        changed.append(one.removesuffix(_STREAM_END) + b"\n" + _STREAM_END if one.endswith(_STREAM_END) else one)
    place = sum(map(len, changed))
    table = _ENTRY.sub(lambda entry: b"%010d 00000 n \n" % moved[int(entry[1])], pdf[xref:])
    return b"".join([*changed, _START.sub(b"\nstartxref\n%d\n" % place, table)])


class _Metadata(PDFStream):  # type: ignore[misc]  # reportlab has no types
    """The stream of XMP metadata, which repeats the document's own fields. It is not compressed."""

    def __init__(self, created: datetime, language: str) -> None:
        super().__init__(PDFDictionary({"Type": PDFName("Metadata"), "Subtype": PDFName("XML")}), filters=[])
        self.created, self.language = created, language

    def format(self, document: Any) -> bytes:
        info = document.info
        self.content = _XMP.format(
            title=escape(info.title),
            author=escape(info.author),
            creator=escape(info.creator),
            producer=escape(info.producer),
            language=escape(self.language),
            created=self.created.isoformat(timespec="seconds"),
        ).encode()
        formatted: bytes = super().format(document)
        return formatted


def _output_intent(document: Any) -> PDFDictionary:
    """Return the statement that colours are meant in sRGB, with its profile."""
    profile = PDFStream(PDFDictionary({"N": 3}), _srgb_profile())
    return PDFDictionary(
        {
            "Type": PDFName("OutputIntent"),
            "S": PDFName("GTS_PDFA1"),
            "OutputConditionIdentifier": PDFString(_PROFILE_NAME),
            "Info": PDFString(_PROFILE_NAME),
            "DestOutputProfile": document.Reference(profile),
        }
    )


@cache
def _srgb_profile() -> bytes:
    """Return the ICC profile of sRGB, some 600 bytes that Little CMS makes."""
    profile: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile


def _pdf_date(when: datetime) -> str:
    offset = when.strftime("%z") or "+0000"
    return f"D:{when:%Y%m%d%H%M%S}{offset[:3]}'{offset[3:5]}'"
