"""Options and arguments that several commands share, one file a subject."""
