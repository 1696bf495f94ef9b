"""Who may go where: rules, conditions and address vetting, as pure functions."""
