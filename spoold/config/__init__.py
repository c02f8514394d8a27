"""`spoold.toml` and `routes.d/`: found, read, typed. A mistake is named with file and line."""
