"""The engine: requests from all clients become batches, and workers that hold a model answer them."""
