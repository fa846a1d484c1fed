"""Bugs planted into the product, to prove that the simulator would find them."""
