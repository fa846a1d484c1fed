"""raft: see ARCHITECTURE.md."""
