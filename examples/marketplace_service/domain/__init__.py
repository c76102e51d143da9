"""What the marketplace is: its states, its rules and what it announces. Nothing here knows HTTP or Kafka."""
