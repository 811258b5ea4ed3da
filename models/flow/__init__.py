"""ODESteer's flow: the polynomial count sketch, its exact quadratic form, the integrators."""
