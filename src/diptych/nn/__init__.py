"""The networks: analysis and synthesis transforms, the hyperprior, and its exact-integer form."""
