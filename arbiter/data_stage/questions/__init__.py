"""Questions from documents: made with a teacher, looked through, and used by a run."""
