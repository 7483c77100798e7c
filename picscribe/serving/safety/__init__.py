"""What keeps the service safe: who may ask, what may be fetched, what a process may do."""
