"""The command line: what its commands are called, and what each prints."""
