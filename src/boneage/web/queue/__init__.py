"""The durable queue of radiographs: each is assessed once in effect."""
