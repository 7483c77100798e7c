"""The formats that data sets come in: one reader a format, and the registry, which knows a format when it sees it."""
