"""picscribe as a service: HTTP in front of an engine that batches requests from everyone who calls at the same time."""
