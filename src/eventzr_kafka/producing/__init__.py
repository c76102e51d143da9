"""From a payload to a record that the broker acknowledged."""
