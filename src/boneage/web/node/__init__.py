"""The durable side of the DICOM node: what the PACS sent, and what it gets back, as rows of the database.

Each stretch of the life of an instance has one module, in this order. Each change of state is one transaction.

* `intake`: the listener stores an instance before it answers the peer.
* `studies`: when a study is quiet, its radiographs are selected and submitted to the queue of the service.
* `results`: when an assessment is final, its result objects are made once, and their bytes are kept.
* `outbox`: these bytes are sent to each receiver until it has stored them, or the delivery is given up.

`following` brings an instance back to `results` when a physician decides. `dispatcher` runs the last three.
"""
