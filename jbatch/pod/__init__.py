"""A pod on paper: what a plan would take on TPUs that are not here, by the real compiler."""
