"""The search of one arm's settings: the space, the study, its report."""
