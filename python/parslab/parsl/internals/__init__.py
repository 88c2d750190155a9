"""What Parsl's API reference calls internal, for programs and plug-ins that use it all the same."""
