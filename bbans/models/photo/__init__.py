"""The photo model: a VAE for pictures of any size with a polyphase likelihood, and its codec."""
