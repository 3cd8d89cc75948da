"""DICOM objects (CR, DX and Secondary Capture) to grey levels and facts.

`read` composes the steps: `object` parses the file, `layout` and `pixel_data` find the stored bytes, `codecs` and
`run_length` decode them, `grey_scale` with `luts` maps them, and `geometry` makes pixels square. `facts` reads the
header. All of them read elements through `tags`, which keeps to `bounds`.
"""
