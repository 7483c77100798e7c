"""What a run keeps and tells: its folder, states, validation, progress."""
