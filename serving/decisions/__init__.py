"""What was decided: the ledger, its routes, and the promotion of a decision to what is served."""
