"""`python -m georank_cli`, the form that `accelerate launch -m` takes."""

from .main import main

main()
