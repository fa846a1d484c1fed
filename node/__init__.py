"""node: one member, from its client port down to its disk."""
