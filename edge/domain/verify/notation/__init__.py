"""Notary Project signatures: their two envelopes, and the trust policy's levels.

Source: notaryproject/specifications `signature-specification.md`, `signature-envelope-jws.md`,
`signature-envelope-cose.md`, `trust-store-trust-policy.md` (version 1.1).
"""
