"""What depends on the version of Airflow that runs."""
