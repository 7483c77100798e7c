"""What clients of other services already speak, each a thin translation to questions for the engine."""
