"""Sources to documents: files, folders, globs and archives, converted to text with pages and headings kept."""
