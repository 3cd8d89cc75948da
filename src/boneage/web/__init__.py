"""The service: pages and a REST API over `boneage.assess`, a durable queue of radiographs, and the worklist (Django).

Everything that needs Django is in this package, and nothing outside it imports Django. `docs/architecture.md`
describes its rooms. Start the service with ``boneage serve``.
"""
