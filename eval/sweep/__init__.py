"""The sweep of one arm's settings: the space, the study, its report."""
