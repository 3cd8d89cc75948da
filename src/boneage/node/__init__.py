"""The network side of the DICOM node: it receives radiographs from a PACS, and sends result objects back.

`listener` receives, `selection` decides what is read, `sender` sends, and `commitment` asks the PACS to vouch for what
it stored. Nothing here is durable: `boneage.web.node` keeps instances and deliveries in its database.
"""
