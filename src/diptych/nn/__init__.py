"""What is trained: analysis and synthesis transforms, the hyperprior, its context, a discriminator."""
