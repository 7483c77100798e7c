"""How the model that ships with picscribe came to be."""
