"""Training of the models. Not imported when pictures are compressed or decompressed."""
