"""Long proofs of what the registry promises: each is a module whose first sentence says what it shows.

`python -m proofs [--quick] [NAME ...]` runs them against real server processes on loopback. A proof makes claims
and supports them with figures, and it runs its *control*, the same check on something that is wrong, which has to
break them: a check that has never been seen to fail proves nothing.

`claims` is the vocabulary and `evidence` writes it down. `server` starts, kills and distorts registries, `process`
reads what their processes cost, `connection` and `repository` speak HTTP by hand, `stream` makes big blobs. `ledger`
knows what was acknowledged, `writers` pushes, `oracle` looks whether it is still there.
"""
