"""What a run stands on: processes and device, the start, which weights learn and how fast."""
