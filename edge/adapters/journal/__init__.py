"""What a satellite remembers: one SQLite file that survives kill -9 and power loss, and holds no secret."""
