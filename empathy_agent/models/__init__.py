"""The embedded model and the resolver that turns a model's name into an open backend."""
