"""Running a model artifact. Never torch, Prefect or MLflow."""
