"""The lifecycle in Airflow: the skeletons of operators and sensors, and what they need of Airflow."""
