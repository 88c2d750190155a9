"""Groups failed tasks by the exception that ended them."""
