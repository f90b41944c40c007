"""Mutated files against every reader: each is read, or refused in one clear line.

``python -m tests.fuzz --cases 1500`` reads that many mutations with each reader, ``test_fuzz.py``
few. Cases are numbered: reader, seed and number make the same files again.
"""
