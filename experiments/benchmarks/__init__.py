"""Speed of Ablax against what a user would pick instead, measured on the user's own machine."""
