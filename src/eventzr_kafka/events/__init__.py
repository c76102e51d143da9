"""Events: their envelope and payload classes, the class of a topic, and the event being handled."""
