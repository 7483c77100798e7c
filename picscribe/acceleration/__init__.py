"""How a network runs faster on the machine at hand; whatever it computes stays the same."""
