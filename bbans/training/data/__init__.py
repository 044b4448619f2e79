"""Pictures to train on: read, divided, cut and put into batches."""
