"""Sub-models of every family against models that were built or pruned that way, and what is left behind: nothing.

The references (`pruned`) never use `probes`: they change configuration and weights, and load them into a new model.
"""
