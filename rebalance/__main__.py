from rebalance_cli.main import main

main()
