"""The neural networks of the study, smallest first.  They know nothing of chapters, terminals or files."""
