"""watch: see ARCHITECTURE.md."""
