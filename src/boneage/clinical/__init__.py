"""The clinical reading: what an estimated bone age (Greulich & Pyle) means for a child.

The package computes numbers and stable codes; command line, page, report and API put them into sentences. It needs
numpy and the standard library only, and never a model. Its modules are:

* `ages`: chronological age by the calendar, exact or as an interval.
* `references`: mean and standard deviation (SD) of bone age in healthy children, shipped or supplied by the operator.
* `maturity`: both ends of the scale, which are ages under two years and hands near maturity or beyond.
* `sds`: standard deviation score (SDS) and determination.
* `change`: difference, velocity and SDS over two or more readings of one child.
* `discordance`: carpal bones against the other regions.
* `reading`: all of these for one assessment.
* `intended_use`: intended use and contra-indications.
* `height`: adult height.
"""
