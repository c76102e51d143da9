"""One small program per contestant; each prints one JSON line with its figure."""
