"""wsproxy: an HTTP and WebSocket forward proxy and tunnel server."""

__version__ = "0.1.0"
