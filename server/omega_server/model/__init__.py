"""Checkpoints to transformers models: loading, and the Omega classes. Under the engine on the data path; never scheduling."""
