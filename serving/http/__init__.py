"""What every HTTP route does with keys, bodies, pages, errors and log lines, and what is served by them."""
