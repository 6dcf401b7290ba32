"""What a command can be told: the YAML schema with every default, and how files, environment and overrides make it."""
