"""Photos from strangers are opened, read and written here, in confined processes."""
