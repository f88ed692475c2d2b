"""Reports of periods: the registry, the reports, and the desk that makes, keeps and explains them."""
