"""The lifecycle in Airflow: base classes of operators and sensors, and what they need from Airflow."""
