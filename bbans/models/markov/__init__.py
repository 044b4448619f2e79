"""Dense models with a Markov hierarchy of latents, for sets of images."""
