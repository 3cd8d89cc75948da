"""Positive mining: hand masks for all radiographs from some outlines (Iglovikov et al., section 2, Fig. 3).

A network is trained on the available masks and predicts the others. A person accepts the good ones, which train the
next round's network. `state` stores the masks and their status, `outlines` reads the first masks, `rounds` trains and
predicts, `tiles` draws masks over radiographs, and `review` presents them for a decision.
"""
