"""Convolutional models whose priors and posteriors share the way down, for sets of images."""
