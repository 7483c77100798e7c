"""The command line, one file a command: each parses, calls and prints, and has no logic of its own.

`options/` holds the options that several commands share, `output/` what they print with.
"""
