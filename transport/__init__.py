"""transport: see ARCHITECTURE.md."""
