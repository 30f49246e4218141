"""Nodes find each other here: bilibili discovery's HTTP API, served or used."""
