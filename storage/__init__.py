"""Bytes and rows that survive a crash: folders published whole, locks, hashes, JSON lines, the database."""
