"""What visitors see and assistive technology gets, in a real Chromium."""
