"""Questions from gateways: what to let through to the services behind them."""
