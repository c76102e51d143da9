"""What an event is, which class belongs to a topic, and the event that is being handled."""
