"""What is kept and can be proven: audit log, ledger, books, verification."""
