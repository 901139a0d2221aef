"""A package, so that its tests share one demo, which ends with the last of them."""
