"""The promises of the store protocols, each with its check. `entrepot.testing.check` runs them."""
