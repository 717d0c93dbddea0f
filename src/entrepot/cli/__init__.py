"""The command line: one file for a verb or a few that belong together."""
