"""The database under the outbox and the inbox: its clock, its kind, its tables' migrations."""
