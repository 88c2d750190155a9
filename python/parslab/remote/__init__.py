"""What runs on the far side.  Layers 0 to 2 only: a worker loads neither client, traitlets nor Jupyter."""
