"""Routes, options, retry policies and deduplication: all that is worked out once, when a class is decorated."""
