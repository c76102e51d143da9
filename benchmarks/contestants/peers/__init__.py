"""Programs that run with the peers' packages, in a virtual environment of their own; type checkers leave them out."""
