"""What it means: statistics over stored rewards, and the static page that shows them."""
