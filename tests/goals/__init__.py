"""The goals of duty under load: black-box tests that print their figures."""
