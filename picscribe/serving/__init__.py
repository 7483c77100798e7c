"""picscribe as a service: HTTP in front of an engine that batches requests from everyone who calls at the same time.

`routes/` and `dialects/` take requests, `engine/` batches them, `decoding/` opens what strangers sent, and `safety/`
holds what protects the service. `page/` is what a browser shows.
"""
