"""Where the commands of a batch scheduler run if not on this host: on a login host that ``ssh`` reaches."""
