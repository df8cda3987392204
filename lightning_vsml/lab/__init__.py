"""Small networks outside of modules, many at once, and data for them: what making and judging algorithms runs on."""
