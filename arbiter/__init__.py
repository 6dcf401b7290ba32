"""The application: a config becomes live parts, which index, tune, evaluate, decide and serve."""
