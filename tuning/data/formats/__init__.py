"""How rows are written elsewhere, and what it says in our own words: a module a family, `registry.py` over all."""
