"""What the command line shows: lines, tables, progress bars, panels."""
