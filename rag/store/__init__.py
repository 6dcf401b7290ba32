"""The rows that are the truth about every index: tables, statements, migrations."""
