"""tools: the command line and measurements; the product imports nothing of it."""
