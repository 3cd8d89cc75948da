"""The condition of the service: whether its database can be read and written, and how many radiographs wait."""
