"""Pure functions from tensors to numbers: geometry, entropy, statistics."""
