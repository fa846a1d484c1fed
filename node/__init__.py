"""node: see ARCHITECTURE.md."""
