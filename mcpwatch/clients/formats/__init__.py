"""Text edits that change one member and keep every other byte: one file per syntax, one file that proves the result."""
