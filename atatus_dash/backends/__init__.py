"""Django's database backends, with time-outs for every wait of a server."""
