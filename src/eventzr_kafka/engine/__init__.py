"""From a partition's records to outcomes: lanes, ledger, dispatcher, failures; and what runs them."""
