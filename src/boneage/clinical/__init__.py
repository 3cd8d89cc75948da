"""The clinical reading: what an estimated bone age (Greulich & Pyle) means for a child.

The package computes and says nothing in words: results are numbers and stable codes, which command line, page, report
and API put into sentences. It needs numpy and the standard library only, and never a model.

==================  ====================================================================================
module              content
==================  ====================================================================================
``ages``            chronological age by the calendar, exact or as an interval
``references``      mean and standard deviation (SD) of bone age in healthy children, shipped or one's own
``maturity``        both ends of the scale: under two years, near maturity, beyond
``sds``             standard deviation score (SDS) and determination
``change``          two or more readings of one child: difference, velocity, SDS over time
``discordance``     carpal bones against the other regions
``reading``         all of these for one assessment
``intended_use``    intended use and contra-indications
``height``          adult height
==================  ====================================================================================
"""
