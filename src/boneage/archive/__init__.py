"""Whole archives of radiographs: sources, a run that can be interrupted at any point, tables and a report.

`boneage.archive.run` joins the parts. An engine (`boneage.archive.engine`) distributes the work over processes and
machines; everything else knows only that it is handed batches of items and gives back their results in any order.
"""
