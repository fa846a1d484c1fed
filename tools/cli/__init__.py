"""The `conclave` command: click functions of about ten lines over the clients of cluster and node.

One module per group of verbs (`cluster`, `node`, `kv`, `look`, `tool`), pure modules for what can
be told without a terminal (`duration`, `condition`, `status_view`, `progress`), and `verb` for what
every verb shares. A verb's module is imported when that verb runs, so a fast verb stays fast.
"""
