"""Learning algorithms: pure functions, state in, state out, and the files that they come from."""
