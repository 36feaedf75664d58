"""What the chapters on language models share: the task, a run of one seed, and how it is read."""
