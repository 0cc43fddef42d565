"""What runs inside the boxes: plain standard-library files, bound read-only. They import nothing else of ours."""
