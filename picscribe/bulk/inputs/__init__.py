"""What a job looks at: finds photos in folders, lists, tables, tars and behind addresses, and makes pixels of them."""
