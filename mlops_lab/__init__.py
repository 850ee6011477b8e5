"""The lab's library: the contract, the data, the models and the loop that joins them."""
