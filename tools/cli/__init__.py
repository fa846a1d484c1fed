"""The `conclave` command: click functions of about ten lines over the clients of cluster and node.

One module per group of verbs (`cluster`, `node`, `look`, `record`, `kv`, `bench`, `tool`), pure
modules for what can be told without a terminal (`duration`, `status_view`, `event_view`,
`log_view`, `kv_view`, `progress`, `doctor`), and `verb` for what every verb shares. A verb's module
is imported when that verb runs, and heavy packages by the function that needs them, so that a fast
verb stays fast.
"""
