"""JupyterLab's side in the kernel: magics, cells as tasks, live displays, and the relay to the panel."""
