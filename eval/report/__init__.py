"""The decision card: what is shown of a finished comparison, as values, in a terminal and as a page."""
