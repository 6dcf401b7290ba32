"""A judge: how it is asked, what it is certified for, and how people's labels correct it."""
