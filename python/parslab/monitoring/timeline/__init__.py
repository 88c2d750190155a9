"""When each worker of a run was busy, and how many tasks waited: reduced to what a picture of some width can show."""
