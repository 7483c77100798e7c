"""What a run learns from: data sets, drawn views and texts, batches."""
