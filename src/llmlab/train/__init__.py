"""One training loop, and the update rules written as their equations."""
