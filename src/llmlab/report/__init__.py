"""From a Result to what people read: tables, plots, log entries.  Nothing here computes a result."""
