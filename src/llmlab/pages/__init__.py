"""What the site shows of the log beside its entries: a comparison, an index by chapter and a feed, made of the records.

Covers pure functions from records to HTML, Markdown, JSON and XML, and the hooks through which MkDocs asks for them.
Leaves out the entries' own pages: ``llmlab.report.entry``.
"""
