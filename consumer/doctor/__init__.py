"""`skim doctor`: is everything there that a worker needs, and if not, what to do."""
