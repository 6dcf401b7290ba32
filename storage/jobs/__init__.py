"""The queue of what takes longer than a request: rows that say what is to be done, threads that do it."""
