"""Dead letters: their form, their topic's journal, and the keys that wait behind them."""
