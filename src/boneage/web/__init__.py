"""The service: pages and a REST API over `boneage.assess`, a durable queue of radiographs, and the worklist (Django).

Everything that Django needs is in this package, and nothing outside it imports Django. `docs/architecture.md` has
the picture of it. Start it with ``boneage serve``.
"""
