"""`python -m georank_cli`, the form that `accelerate launch -m` takes."""

from georank_cli.main import main

main()
