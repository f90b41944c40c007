"""Prefect flows of the life cycle, one a file: thin, they call what ``emsam`` commands call.

Their docstrings have Google's sections, from which Prefect takes the words in its forms.
"""
