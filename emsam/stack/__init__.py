"""The local stack: Prefect's server and workers, MLflow's server, the dashboard."""
