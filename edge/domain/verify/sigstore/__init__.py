"""Sigstore: trusted roots, transparency logs, certificate logs and timestamps; all of it offline."""
