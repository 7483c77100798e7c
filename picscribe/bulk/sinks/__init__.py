"""Where results go: one file a kind of output; `picscribe.bulk.outputs` makes them."""
