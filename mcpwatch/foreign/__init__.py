"""Text that other people and programs wrote: one bounded reader, and what several rooms need of its syntax. Knows no room."""
