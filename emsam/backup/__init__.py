"""A team's stack in one file, and back into an empty folder."""
