"""Forms of the database of jobs, each a step from the one before."""
