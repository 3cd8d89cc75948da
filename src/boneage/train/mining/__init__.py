"""Positive mining: hand masks for all radiographs from outlines of a few (Iglovikov et al., section 2, Fig. 3).

A network is trained on the masks at hand, predicts the others, and a person keeps the good ones, which train the next
round's network. `state` keeps who has which mask, `outlines` reads the masks to begin with, `rounds` trains and
predicts, `tiles` draws masks over radiographs and `review` offers them for accepting or discarding.
"""
