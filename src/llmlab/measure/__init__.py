"""Pure functions from tensors to numbers: geometry, counting, statistics."""
