"""Templates of the report's page, of the index of a folder and of the audit's page: HTML documents with their style."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from string import Template

_BEGINNING = """\
<!doctype html>
<html lang="$language">
<head>
<meta charset="utf-8">
"""

_POLICY = """\
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
"""
"""Policy of a page that forbids itself scripts and any network."""

_FRAME = """\
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --soft: #5a6675; --line: #dde2e8; --accent: #14507a;
  --caution: #8a4b00; --caution-paper: #fff6e8; --critical: #9b1c1c; --critical-paper: #fdecec; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #12161b; --ink: #e4e8ed; --soft: #9aa6b4;
  --line: #2b333d; --accent: #8cc4ef; --caution: #ffc577; --caution-paper: #2a2114;
  --critical: #ff9d9d; --critical-paper: #331a1c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 28px 24px; }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 16px;
  border-bottom: 1px solid var(--line); padding-bottom: 10px; }
h1 { font-size: 17px; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
h1 span { color: var(--soft); font-weight: 400; }
time { color: var(--soft); white-space: nowrap; font-size: 13px; }
"""
"""Rest of the head of every page, with the style of its frame."""

_HEAD = _BEGINNING + _POLICY + _FRAME

PAGE = Template(
    _HEAD
    + """\
.answer { padding: 16px 0 12px; }
.answer p { margin: 2px 0; }
.answer .age { font-size: 36px; line-height: 1.15; font-weight: 600; letter-spacing: -0.01em; color: var(--accent);
  margin: 0 0 6px; }
.answer .regions { list-style: none; margin: 8px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 22px;
  color: var(--soft); font-size: 14px; }
.answer .both { display: grid; grid-template-columns: 1fr 1fr; gap: 6px 24px; margin-bottom: 10px; }
.answer .both h2 { font-size: 14px; margin: 0 0 2px; }
.answer .both .age { font-size: 26px; }
.answer .void { color: var(--soft); text-decoration: line-through; text-decoration-thickness: 2px; }
.answer .stamp { color: var(--critical); font-weight: 600; margin-bottom: 6px; }
.warnings { --ink-of-it: var(--soft); border-left: 4px solid var(--ink-of-it); padding: 8px 14px; margin: 4px 0 10px; }
.warnings.caution { --ink-of-it: var(--caution); background: var(--caution-paper); }
.warnings.critical { --ink-of-it: var(--critical); background: var(--critical-paper); }
.warnings h2 { font-size: 13px; margin: 0 0 2px; color: var(--ink-of-it); }
.warnings ul { margin: 0; padding-left: 18px; }
.pictures { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; }
figure { margin: 0; min-width: 0; }
figure img { display: block; width: 100%; max-height: 560px; object-fit: contain; background: #000;
  border-radius: 4px; }
figcaption { font-size: 13px; color: var(--soft); padding-top: 5px; }
.scale { display: flex; align-items: center; gap: 8px; padding-top: 4px; white-space: nowrap; }
.scale i { flex: 0 1 160px; height: 9px; border-radius: 2px;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(185px, 1fr)); gap: 6px 18px;
  margin: 16px 0; padding: 12px 0; border: solid var(--line); border-width: 1px 0; }
dl div { min-width: 0; }
dt { font-size: 12px; color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.reader { display: none; }
footer { color: var(--soft); font-size: 13px; }
footer b { color: var(--ink); }
@media (max-width: 560px) { .answer .both, .pictures { grid-template-columns: 1fr; } header { flex-wrap: wrap; } }
@page { size: A4; margin: 13mm 15mm; }
@media print {
  :root { color-scheme: light; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  .answer .age { font-size: 25pt; margin: 0 0 4px; }
  .answer { padding: 10px 0 8px; }
  .answer p { font-size: 9pt; margin: 1px 0; }
  .answer .regions { font-size: 8pt; gap: 0 16px; margin-top: 4px; }
  figure img { max-height: 60mm; }
  .warnings ~ .pictures img { max-height: 46mm; }
  dl { grid-template-columns: repeat(5, 1fr); margin: 6px 0; padding: 5px 0; font-size: 8.5pt; }
  .warnings { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .warnings, figure, dl, footer { break-inside: avoid; }
  .reader { display: grid; grid-template-columns: 2fr 3fr 2fr; gap: 14px; margin: 8px 0 10px; }
  .reader span { border-bottom: 1px solid #888; padding-bottom: 16px; font-size: 9pt; color: var(--soft); }
}
</style>
</head>
<body>
<main>
<header><h1>$heading <span>$name</span></h1><time>$created</time></header>
<section class="answer" aria-label="$heading">
$answer
</section>
$warnings
<section class="pictures">
$pictures
</section>
<dl>$facts</dl>
<p class="reader">$reader</p>
<footer><b>$notice</b> $intended_use $map_note</footer>
</main>
</body>
</html>
"""
)

_TABLES = """\
main { max-width: 1100px; }
h2 { font-size: 15px; margin: 26px 0 6px; }
.verdict { font-size: 22px; font-weight: 600; margin: 16px 0 6px; }
.fit { color: var(--accent); }
.undecided { color: var(--caution); }
.unfit { color: var(--critical); }
.too_few { color: var(--soft); }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px 4px 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; width: 22%; }
thead th { color: var(--soft); font-weight: 600; }
td.plot { padding: 0; width: 150px; }
svg { display: block; width: 150px; height: 20px; }
svg .limits { fill: var(--line); }
svg .zero { stroke: var(--soft); stroke-width: 0.3; }
svg .interval { stroke: currentColor; stroke-width: 1; }
svg circle { fill: currentColor; }
ul { margin: 6px 0; padding-left: 18px; }
footer { color: var(--soft); font-size: 13px; margin-top: 24px; border-top: 1px solid var(--line); }
@page { size: A4 landscape; margin: 12mm; }
@media print { :root { color-scheme: light; } main { max-width: none; padding: 0; } body { font-size: 9pt; }
  table { font-size: 8pt; } tr { break-inside: avoid; } svg .limits { print-color-adjust: exact; } }
"""
"""Style of pages with tables and small drawings."""

_TABLES_BODY = """\
</style>
</head>
<body>
<main>
<header><h1>$heading <span>$name</span></h1><time>$created</time></header>
$content
<footer>$notes</footer>
</main>
</body>
</html>
"""

AUDIT_PAGE = Template(_HEAD + _TABLES + _TABLES_BODY)

ARCHIVE_PAGE = Template(
    _HEAD
    + _TABLES
    + """\
.counts { display: flex; flex-wrap: wrap; gap: 8px 34px; margin: 18px 0 4px; padding: 0; list-style: none; }
.counts b { display: block; font-size: 26px; line-height: 1.2; font-weight: 600; color: var(--accent); }
.histograms { display: grid; grid-template-columns: repeat(3, 1fr); gap: 18px; }
.histograms svg { width: 100%; height: auto; }
svg .F { fill: var(--accent); }
svg .M { fill: var(--caution); }
svg .unknown { fill: var(--soft); }
svg text { fill: var(--soft); font-size: 9px; }
svg .axis { stroke: var(--line); stroke-width: 1; }
.key { color: var(--soft); font-size: 13px; }
.key i { display: inline-block; width: 10px; height: 10px; margin: 0 4px 0 12px; background: var(--accent); }
.key i.M { background: var(--caution); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 14px 12px; }
.sheet figure, .histograms figure { margin: 0; min-width: 0; break-inside: avoid; }
thead th { white-space: normal; vertical-align: bottom; }
.sheet img, .sheet .none { display: block; width: 100%; height: 200px; object-fit: contain; background: #000; }
.sheet figcaption { font-size: 12px; overflow-wrap: anywhere; }
@media (max-width: 700px) { .histograms { grid-template-columns: 1fr; } }
"""
    + _TABLES_BODY
)

INDEX_MARK = '<meta name="generator" content="boneage, index of a folder of reports">'
"""Line in the head of an index by which a later run recognises it."""

INDEX_SCRIPT = """\
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = document.querySelector("tbody"), place = head.cellIndex;
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of document.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const key = (row) => row.cells[place].dataset.key;
  const compare = "number" in head.dataset ? (one, other) => one - other
    : (one, other) => one.localeCompare(other, document.documentElement.lang, { numeric: true });
  const rows = [...body.rows].sort((one, other) => (key(one) === "") - (key(other) === "")
    || (descending ? -1 : 1) * compare(key(one), key(other)));
  body.append(...rows);
});
"""
"""Script of the index, which sorts its table by the head that is pressed. Cells without a value stay at the end."""

_INDEX_POLICY = f"""\
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' file:; \
style-src 'unsafe-inline'; script-src 'sha256-{b64encode(sha256(INDEX_SCRIPT.encode()).digest()).decode()}'">
{INDEX_MARK}
"""
"""Policy of a page that loads pictures beside it and runs `INDEX_SCRIPT` only."""

INDEX_PAGE = Template(
    _BEGINNING
    + _INDEX_POLICY
    + _FRAME
    + """\
main { max-width: 1280px; }
.table { overflow-x: auto; margin: 16px 0; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 14px 6px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { white-space: nowrap; vertical-align: bottom; }
th button { all: unset; cursor: pointer; color: var(--soft); font-size: 13px; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th button::after { content: " \\2195"; opacity: 0.4; }
th[aria-sort="ascending"] button::after { content: " \\2191"; opacity: 1; }
th[aria-sort="descending"] button::after { content: " \\2193"; opacity: 1; }
td.picture { width: 92px; }
td.picture img { display: block; width: 78px; height: 104px; object-fit: cover; object-position: left; background: #000;
  border-radius: 3px; }
td.name { overflow-wrap: anywhere; min-width: 130px; }
.estimate { font-weight: 600; }
td.warnings { min-width: 240px; font-size: 13px; }
td p { margin: 0; }
a { color: var(--accent); }
.void { color: var(--soft); text-decoration: line-through; font-weight: 400; }
.caution { color: var(--caution); }
.critical, .rejected { color: var(--critical); }
.info { color: var(--soft); }
footer { color: var(--soft); font-size: 13px; }
footer b { color: var(--ink); }
@media screen and (max-width: 640px) {
  .table, tbody { overflow-x: visible; }
  table, thead, tbody { display: block; }
  thead tr { display: flex; flex-wrap: wrap; gap: 4px 14px; padding-bottom: 8px; border-bottom: 1px solid var(--line); }
  thead td { display: none; }
  thead th { padding: 0; border: 0; }
  tbody tr { display: grid; grid-template-columns: 78px minmax(0, 1fr); column-gap: 14px; padding: 10px 0;
    border-bottom: 1px solid var(--line); align-content: start; }
  tbody td { grid-column: 2; padding: 0 0 4px; border: 0; min-width: 0 !important; }
  tbody td.picture { grid-column: 1; grid-row: 1 / span 7; width: auto; }
  tbody td:not(.picture):empty { display: none; }
  td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); font-size: 13px; }
  td[data-label] p:first-child { display: inline; }
}
@page { size: A4 landscape; margin: 12mm; }
@media print { :root { color-scheme: light; } main { max-width: none; padding: 0; } table { font-size: 9pt; }
  tr { break-inside: avoid; } th button::after { content: none; } }
</style>
</head>
<body>
<main>
<header><h1>$heading <span>$name</span></h1><time>$created</time></header>
<div class="table">
<table>
<thead><tr>$heads</tr></thead>
<tbody>
$rows
</tbody>
</table>
</div>
<footer><b>$notice</b> $intended_use</footer>
</main>
<script>$script</script>
</body>
</html>
"""
)
