"""What readers see and hear, in a real Chromium."""
