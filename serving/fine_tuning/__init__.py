"""Fine-tuning jobs in OpenAI's shapes: requests, rows, trainings in processes of their own, routes."""
