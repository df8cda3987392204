"""The Lightning edge: the callback, and what it checks, shows and follows."""
