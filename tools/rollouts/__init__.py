"""Random clusters and changes, and whether a rollout ends well in each: in a simulation, or on the local cluster."""
