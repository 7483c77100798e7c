"""The command line, one file a command: each parses, calls and prints, and has no logic of its own."""
