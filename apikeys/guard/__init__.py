"""Reads gateways' authorization requests, and fills in gateways' configurations."""
