"""From text to tokens to (input, target) pairs."""
