"""The application: everything that touches models, and the command line."""
