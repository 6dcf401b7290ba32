"""What every HTTP route does with bodies, pages, errors and log lines, and the chat route, in OpenAI's shapes."""
