"""Adapters made of others: what is added up, how exactly, and the gate before it is published."""
