"""Gates before promotion: what a tuned arm must not have lost, leaked or learned, measured through the serving path."""
