"""Results as DICOM objects: structured report, Secondary Capture, encapsulated PDF and presentation state.

Start at `boneage.dicom.objects`. `boneage.reading.dicom` reads radiographs; this room writes what a PACS stores beside
them.
"""
