"""What the chapters on fixed contexts share: text and embedding, the contexts, the arms, and how they are read."""
