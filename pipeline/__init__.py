"""tingbo (听播): listens to live rooms and finds what a host must not say."""

__version__ = "0.1.0"
