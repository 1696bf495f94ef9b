"""The configuration: strict, positioned, and complete before anything starts.

`wsproxy.config.load.load` reads a file; `wsproxy.config.schema` names the settings.
Nothing is imported here, so that what needs a part does not pay for the rest.
"""
