"""Measurements against other people's programs, and what they share with the interoperability tests.

`programs` finds the programs, `processes` starts and ends them, `servers` knows the registries,
`images` makes something to push, `evidence` writes down what was found.
"""
