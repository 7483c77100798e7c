"""The service's own routes, and what routes of every dialect share."""
