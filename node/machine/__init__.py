"""machine: see ARCHITECTURE.md."""
