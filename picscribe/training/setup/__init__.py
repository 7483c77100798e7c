"""What a run needs: processes and device, the start, which weights learn and how fast."""
