"""What each framework does when a work is asked for: one file a framework, run by its own interpreter."""
