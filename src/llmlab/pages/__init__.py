"""What the site shows of the log beside its entries: comparison, index by chapter and feed, made of the records."""
