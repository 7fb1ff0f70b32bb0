"""Images: where they come from, which of them train, how they are batched."""
