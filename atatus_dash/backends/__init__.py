"""Django's own database backends, and what they lack for a server: an end to every wait."""
