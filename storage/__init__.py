"""Names to arrays and back: video files, the LanceDB memory, the ledger, review pages. Numpy and Arrow; no torch."""
