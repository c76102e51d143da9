"""Records to events and back, in both content modes. Pure: no I/O, no clock."""
