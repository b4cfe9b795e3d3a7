"""Human labels: items, the database, who gets which item, agreement, export."""
