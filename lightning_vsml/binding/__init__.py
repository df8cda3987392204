"""A model bound to a learning algorithm, in plain PyTorch."""
